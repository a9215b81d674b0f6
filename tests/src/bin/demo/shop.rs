//! The shop: a database that takes orders, a folder of uploads, and customers who ask whichever host answers.

use rusqlite::Connection;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct Shop {
    stop: Arc<AtomicBool>,
    /// Orders that were taken.
    taken: Arc<AtomicU64>,
    clerk: Option<JoinHandle<()>>,
}

/// An order comes so often.
const EVERY: Duration = Duration::from_millis(100);
/// A host that does not answer is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

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
        Shop { stop: Arc::default(), taken: Arc::new(AtomicU64::new(1)), clerk: None }
    }

    /// Customers come until it ends, and ask at all of these places, each with its host's folder.
    pub fn begin(&mut self, places: Vec<(SocketAddr, PathBuf)>) {
        let (stop, taken) = (self.stop.clone(), self.taken.clone());
        self.clerk = Some(std::thread::spawn(move || {
            let mut number = taken.load(Ordering::SeqCst);
            while !stop.load(Ordering::SeqCst) {
                let served = places.iter().find(|(at, _)| ordered(*at, number));
                if let Some((_, folder)) = served {
                    if number.is_multiple_of(10) {
                        let note = format!("an upload beside order {number}\n");
                        std::fs::write(folder.join(format!("uploads/note-{number}.txt")), note).expect("an upload");
                    }
                    taken.fetch_add(1, Ordering::SeqCst);
                }
                // What was not acknowledged is nobody's: the next order has a number of its own.
                number += 1;
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
}

/// Whether an order was taken there.
fn ordered(at: SocketAddr, number: u64) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "POST /order/{number} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
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
