//! Addresses that move with the active node, and what is wrong with some.

use crate::{FILES, minimal, mistakes, node};

fn with(vip: &str) -> String {
    minimal(&format!("{FILES}[[takeover.vip]]\n{vip}\n"))
}

#[test]
fn an_address_needs_two_lines() {
    let file = node(&with("address = \"2001:db8::10\"\ninterface = \"eth0\""));
    let vip = &file.takeover.unwrap().vips[0];
    assert_eq!((vip.address.to_string().as_str(), vip.prefix, vip.interface.as_str()), ("2001:db8::10", 128, "eth0"));
    assert!(vip.routes.is_empty() && vip.table.is_none());
}

#[test]
fn routes_of_an_address() {
    let routes = "[\"default via 192.0.2.1\", \"198.51.100.0/24 metric 50\", \"203.0.113.7\"]";
    let file = node(&with(&format!("address = \"192.0.2.10/24\"\ninterface = \"bond0.7\"\nroutes = {routes}\ntable = 77\npriority = 90")));
    let vip = &file.takeover.unwrap().vips[0];
    let told: Vec<String> = vip
        .routes
        .iter()
        .map(|route| format!("{}/{} {:?} {:?}", route.to, route.prefix, route.via.map(|via| via.to_string()), route.metric))
        .collect();
    assert_eq!(told, ["0.0.0.0/0 Some(\"192.0.2.1\") None", "198.51.100.0/24 None Some(50)", "203.0.113.7/32 None None"]);
    assert_eq!((vip.prefix, vip.table, vip.priority), (24, Some(77), 90));
}

#[test]
fn mistakes_in_an_address() {
    insta::assert_snapshot!(mistakes(&with("adress = \"192.0.2.10\"")), @r#"
    node.toml has 3 mistakes:
      line 9: takeover.vip.address: is missing; write it as "192.0.2.10"
      line 9: takeover.vip.interface: is missing; write it as "eth0"
      line 10: takeover.vip.adress: unknown key; did you mean `address`?
    "#);
    insta::assert_snapshot!(mistakes(&with("address = \"192.0.2.10/33\"\ninterface = \"eth0:1/2\"\npriority = 5")), @r#"
    node.toml has 2 mistakes:
      line 10: takeover.vip.address: must be an address, as 192.0.2.10 or 192.0.2.10/24, not "192.0.2.10/33"
      line 11: takeover.vip.interface: must be the name of an interface, as `ip link` shows it, not "eth0:1/2"
    "#);
    insta::assert_snapshot!(mistakes(&with("address = \"127.0.0.1\"\ninterface = \"lo\"\ntable = 254")), @r#"
    node.toml has 3 mistakes:
      line 10: takeover.vip.address: 127.0.0.1/32 cannot be an address of a host for others
      line 12: takeover.vip.table: 253 to 255 are the kernel's own: choose another number
      line 12: takeover.vip.table: has no routes: write `routes` as ["default via 192.0.2.1"]
    "#);
    insta::assert_snapshot!(mistakes(&with("address = \"192.0.2.10\"\ninterface = \"eth0\"\npriority = 5")), @"node.toml: line 12: takeover.vip.priority: is the rule's that leads to a `table`, and there is none");
    let routes = "[\"default\", \"default via fe80::1\", \"10.0.0.0/8 over 192.0.2.1\", \"x\"]";
    insta::assert_snapshot!(mistakes(&with(&format!("address = \"192.0.2.10\"\ninterface = \"eth0\"\nroutes = {routes}"))), @r#"
    node.toml has 3 mistakes:
      line 12: takeover.vip.routes: number 2: "default via fe80::1" is no route of the same kind as 192.0.2.10
      line 12: takeover.vip.routes: number 3: must be "default via ADDRESS" or "NETWORK via ADDRESS", and "metric NUMBER" behind it if need be, not "10.0.0.0/8 over 192.0.2.1"
      line 12: takeover.vip.routes: number 4: must be "default via ADDRESS" or "NETWORK via ADDRESS", and "metric NUMBER" behind it if need be, not "x"
    "#);
    let twice = "address = \"192.0.2.10\"\ninterface = \"eth0\"\n";
    insta::assert_snapshot!(mistakes(&with(&format!("{twice}[[takeover.vip]]\n{twice}"))), @"node.toml: line 13: takeover.vip.address: stands here twice");
}
