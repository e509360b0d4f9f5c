//! What an adversary found: each test is a call that was lost, misrouted or left hanging once.

use sosbridge::node::Input;

use crate::world::{Agent, Dialog, Toml, World, alice, backup, bob, psap, register};

/// A reload in the middle of a call must not change which trunk the call goes to: trunks are counted in the order of the file.
#[test]
fn reload_between_two_rounds_keeps_the_trunk() {
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (psap_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let (backup_part, rest) = rest.split_once("[[trunks]]").unwrap();
    // The same trunks, in another order.
    let other = Toml(format!("{start}[[trunks]]{backup_part}[[trunks]]{psap_part}[[trunks]]{rest}"));
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 503));
    world.take(&psap(), "ACK");
    world.reload(&other);
    world.run(1_500);
    world.none(&backup(), "INVITE");
    world.take(&psap(), "INVITE");
}

/// A reload that takes the trunk of a call away: the call goes where the new configuration sends it.
#[test]
fn reload_that_removes_the_trunk_of_a_call() {
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    let (_, offered) = world.dialled();
    world.send(&psap(), &psap().reply(&offered, 503));
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (_, rest) = rest.split_once("[[trunks]]").unwrap();
    let other = Toml(format!("{start}[[trunks]]{rest}")).change("trunks = [\"psap\"]", "trunks = [\"backup\"]");
    world.reload(&other);
    world.run(1_500);
    world.take(&backup(), "INVITE");
}

/// While its number is being written, too.
#[test]
fn reload_while_the_number_is_written() {
    let text = Toml::one_trunk().0;
    let (start, rest) = text.split_once("[[trunks]]").unwrap();
    let (psap_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let (backup_part, rest) = rest.split_once("[[trunks]]").unwrap();
    let other = Toml(format!("{start}[[trunks]]{backup_part}[[trunks]]{psap_part}[[trunks]]{rest}"));
    let mut world = World::of(&Toml::one_trunk());
    world.register(&alice());
    world.store = crate::world::Store::Silent;
    world.dial(&alice(), "sip:911@example.com");
    world.reload(&other);
    world.run(300);
    world.none(&backup(), "INVITE");
    world.take(&psap(), "INVITE");
}
