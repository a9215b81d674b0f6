//! Each S scenario of TAKEOVER.md's section 4, by its number.

use crate::clock::S;
use crate::world::{Setup, World};

#[test]
fn first_reign_and_a_dead_active() {
    let mut world = World::reigning(Setup::new(3));
    world.power_off(1);
    let most = world.takeover_most();
    assert!(world.until(most, |world| world.open_gate().is_some()));
    world.run(100 * S);
    world.sound();
}
