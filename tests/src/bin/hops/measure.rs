//! Daemons under measurement: their processor time and their memory, as the kernel counts them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use tests::cluster::Cluster;

/// A node that works, a pull-backup, and some that stand by.
pub struct Stand {
    pub cluster: Cluster,
    standbys: Vec<String>,
    running: BTreeMap<String, u32>,
}

/// By daemon.
pub type Figures = BTreeMap<String, f64>;

impl Stand {
    pub fn new(every: &str, standbys: usize) -> Stand {
        let mut cluster = Cluster::new(77);
        cluster.keeper("keeper", "");
        let data = cluster.path("web1");
        std::fs::create_dir_all(&data).expect("a folder for the data");
        let dataset =
            format!("[[dataset]]\nname = \"data\"\nevery = \"{every}\"\nsource = [{{ recipe = \"files\", paths = [{data:?}] }}]\n");
        cluster.node("web1", "", &dataset);
        cluster.join("keeper", "web1", &["--active"]);
        let standbys: Vec<String> = (0..standbys).map(|number| format!("standby{number}")).collect();
        for name in &standbys {
            let own = cluster.path(name);
            std::fs::create_dir_all(&own).expect("a folder for the data");
            let more = format!("identity = {:?}\nsource.data.files.paths = [{own:?}]", cluster.path("identity"));
            cluster.node(name, &more, &dataset);
            cluster.join("keeper", name, &["--standby"]);
        }
        Stand::of(cluster, standbys)
    }

    /// One node with many datasets.
    pub fn of_many(many: usize) -> Stand {
        let mut cluster = Cluster::new(77);
        cluster.keeper("keeper", "");
        let mut datasets = String::new();
        for number in 0..many {
            let data = cluster.path(&format!("data{number}"));
            std::fs::create_dir_all(&data).expect("a folder for the data");
            std::fs::write(data.join("file"), format!("{number}")).expect("the data is written");
            datasets +=
                &format!("[[dataset]]\nname = \"d{number}\"\nevery = \"24h\"\nsource = [{{ recipe = \"files\", paths = [{data:?}] }}]\n");
        }
        cluster.node("web1", "", &datasets);
        cluster.join("keeper", "web1", &["--active"]);
        Stand::of(cluster, vec![])
    }

    /// A pull-backup by itself.
    pub fn alone() -> Stand {
        let mut cluster = Cluster::new(77);
        cluster.keeper("keeper", "");
        Stand::of(cluster, vec![])
    }

    fn of(mut cluster: Cluster, standbys: Vec<String>) -> Stand {
        let keeper = cluster.daemon("keeper", "pull-backup").pid();
        Stand { cluster, standbys, running: BTreeMap::from([("pull-backup of keeper".to_owned(), keeper)]) }
    }

    pub fn data(&self) -> PathBuf {
        self.cluster.path("web1")
    }

    pub fn standbys(&self) -> Vec<PathBuf> {
        self.standbys.iter().map(|name| self.cluster.path(name)).collect()
    }

    pub fn run(&self, host: &str, binary: &str, arguments: &[&str]) {
        self.cluster.run(host, binary, arguments).ended(0);
    }

    pub fn start(&mut self, host: &str, binary: &'static str) {
        self.cluster.start(host, binary);
        let pid = self.cluster.daemon(host, binary).pid();
        self.running.insert(format!("{binary} of {host}"), pid);
    }

    pub fn kill(&mut self, host: &str, binary: &'static str) {
        self.running.remove(&format!("{binary} of {host}"));
        self.cluster.kill(host, binary);
    }

    pub fn start_standbys(&mut self) {
        for name in self.standbys.clone() {
            self.start(&name, "importer");
        }
    }

    pub fn start_all(&mut self) {
        self.start("web1", "exporter");
        self.start_standbys();
    }

    /// Seconds of processor time.
    pub fn cpu(&self) -> Figures {
        let of = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks: f64 = fields[11..13].iter().map(|text| text.parse::<f64>().expect("a number")).sum();
            ticks / rustix::param::clock_ticks_per_second() as f64
        };
        self.running.iter().map(|(name, pid)| (name.clone(), of(pid))).collect()
    }

    fn status(&self, key: &str) -> Figures {
        let of = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
        };
        self.running.iter().map(|(name, pid)| (name.clone(), of(pid))).collect()
    }

    /// Megabytes now.
    pub fn resident(&self) -> Figures {
        self.status("VmRSS")
    }

    /// Says the most that each daemon ever took.
    pub fn memory(&self) {
        for (name, mb) in self.status("VmHWM") {
            println!("{name}: {mb:.0} MB at most");
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory over time.
#[derive(Default)]
pub struct Watched {
    rows: Vec<(u64, Figures)>,
}

impl Watched {
    pub fn note(&mut self, second: u64, figures: Figures) {
        self.rows.push((second, figures));
    }

    /// The mean of each quarter, by daemon: what grows shows.
    pub fn say(&self) {
        let Some((_, first)) = self.rows.first() else { return };
        for name in first.keys() {
            let mb: Vec<f64> = self.rows.iter().filter_map(|(_, figures)| figures.get(name).copied()).collect();
            let quarters: Vec<String> = mb
                .chunks(mb.len().div_ceil(4))
                .map(|part| format!("{:.1}", part.iter().sum::<f64>() / part.len() as f64))
                .collect();
            println!("{name}: {} MB in the quarters of the time", quarters.join(", "));
        }
    }
}
