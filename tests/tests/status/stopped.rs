//! Each hop is stopped in each way that we could think of; within two intervals the status of whoever depends on it is not ok, and says where and why.

use crate::stand::{Keeps, Stand, StandsBy, Works};

#[test]
fn all_is_ok_while_all_is_well_and_data_that_does_not_change_stays_current() {
    let stand = Stand::new(1, "").up();
    println!("{}", stand.run(Keeps, &["status"]).text());
    println!("{}", stand.run(Works, &["status"]).text());
    println!("{}", stand.run(StandsBy, &["status"]).text());
}
