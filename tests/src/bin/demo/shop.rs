//! The shop: a database that takes orders, and a folder of uploads.

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Shop {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    /// Orders that were taken.
    taken: Arc<AtomicU64>,
    clerk: Option<JoinHandle<()>>,
}

/// An order comes so often.
const EVERY: Duration = Duration::from_millis(100);

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "the customers of a demo come at intervals")]
    std::thread::sleep(time);
}

fn order(database: &Connection, number: u64) {
    let text = format!("customer {} wants {} pieces", number * 7919 % 10_007, 1 + number % 9);
    database.execute("insert into orders (text) values (?1)", [text]).expect("an order is taken");
}

impl Shop {
    /// A shop with a long list of goods and one order.
    pub fn open(folder: &Path) -> Shop {
        std::fs::create_dir_all(folder.join("uploads")).expect("a folder for the uploads");
        let mut database = Connection::open(folder.join("shop.db")).expect("the database opens");
        database
            .execute_batch(
                "pragma journal_mode = wal; create table orders (id integer primary key, text); create table goods (name, about)",
            )
            .expect("tables are made");
        let all = database.transaction().expect("it begins");
        for number in 0..30_000_u64 {
            let about = format!("good number {number}, of quality {}, in {} colours", number * 31 % 97, number % 7);
            all.execute("insert into goods values (?1, ?2)", (format!("good {number}"), about))
                .expect("a good is listed");
        }
        all.commit().expect("it is kept");
        order(&database, 0);
        let picture: Vec<u8> = (0..400_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(folder.join("uploads/picture.jpg"), picture).expect("an upload");
        Shop { folder: folder.into(), stop: Arc::default(), taken: Arc::new(AtomicU64::new(1)), clerk: None }
    }

    /// Takes orders until it ends.
    pub fn begin(&mut self) {
        let (folder, stop, taken) = (self.folder.clone(), self.stop.clone(), self.taken.clone());
        self.clerk = Some(std::thread::spawn(move || {
            let database = Connection::open(folder.join("shop.db")).expect("the database opens");
            while !stop.load(Ordering::SeqCst) {
                let number = taken.load(Ordering::SeqCst);
                order(&database, number);
                if number.is_multiple_of(10) {
                    let note = format!("an upload beside order {number}\n");
                    std::fs::write(folder.join(format!("uploads/note-{number}.txt")), note).expect("an upload");
                }
                taken.store(number + 1, Ordering::SeqCst);
                pause(EVERY);
            }
        }));
    }

    pub fn count(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Waits for so many more orders.
    pub fn more(&self, orders: u64) {
        let wanted = self.count() + orders;
        while self.count() < wanted {
            pause(EVERY);
        }
    }

    pub fn end(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(clerk) = self.clerk.take() {
            clerk.join().expect("the shop closes in order");
        }
    }

    pub fn destroy(&self) {
        for name in ["shop.db", "shop.db-wal", "shop.db-shm"] {
            // What is not there need not go.
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        std::fs::remove_dir_all(self.folder.join("uploads")).expect("the uploads go");
    }
}

/// How many orders a copy of the shop has, and how many uploads; `None` where there is no such database.
pub fn look(folder: &Path) -> Option<(u64, usize)> {
    let database = Connection::open_with_flags(folder.join("shop.db"), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let orders = database
        .query_row("select count(*) from orders", [], |row| row.get::<_, i64>(0))
        .ok()?
        .unsigned_abs();
    let uploads = std::fs::read_dir(folder.join("uploads")).map_or(0, Iterator::count);
    Some((orders, uploads))
}
