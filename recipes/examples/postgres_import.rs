//! Times of an import's steps, for PERFORMANCE.md: `postgres_import TREE HOST SCRATCH full|sampled|counts`, TREE being a restored snapshot's source, which is moved.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use recipes::postgres::{Settings, Verify};
use recipes::{Data, Postgres};

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tree, host, scratch, verify] = &arguments[..] else { panic!("usage: postgres_import TREE HOST SCRATCH full|sampled|counts") };
    let verify = match verify.as_str() {
        "full" => Verify::Full,
        "sampled" => Verify::Sampled,
        _ => Verify::Counts,
    };
    let begin = Instant::now();
    let last = Arc::new(Mutex::new(("stage".to_owned(), begin)));
    let told = last.clone();
    let step = move |name: &str| {
        let mut last = told.lock().expect("nobody panics");
        println!("{:>8}: {:.2} s", last.0, last.1.elapsed().as_secs_f64());
        *last = (name.to_owned(), Instant::now());
    };
    let settings = Settings { verify, ..Settings::new(host, scratch.into()) };
    let recipe = Postgres::new(settings).expect("the settings are good").watched(Arc::new(step));
    let mut staging = recipe.stage().expect("the import begins");
    let folder = staging.places()[0].folder.clone();
    std::fs::remove_dir(&folder)
        .and_then(|()| std::fs::rename(tree, &folder))
        .expect("the tree is moved");
    staging.prepare().expect("it is loaded");
    let findings = staging.commit(&mut |_| false).expect("it is switched");
    println!("   whole: {:.2} s", begin.elapsed().as_secs_f64());
    findings.iter().for_each(|finding| println!("{}", finding.what));
}
