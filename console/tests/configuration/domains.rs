//! `[[takeover.dns]]`: what is read, and what is refused with its line.

use console::node_file::Pointing;

use crate::{minimal, mistakes, node};

const FILES: &str = "source = [{ recipe = \"files\", paths = [\"/srv\"] }]\nevery = \"60m\"\n";

fn with(dns: &str) -> String {
    minimal(FILES) + "[takeover]\n[[takeover.dns]]\n" + dns
}

const NODES: &str = "[[takeover.dns.node]]\nname = \"web1\"\naddresses = [\"192.0.2.1\"]\n[[takeover.dns.node]]\nname = \"web2\"\naddresses = [\"198.51.100.7\", \"2001:db8::7\"]\n";

#[test]
fn a_domain_has_what_is_written_and_else_what_is_usual() {
    let text = with(
        "domain = \"Example.org.\"\nmeans = \"update\"\nserver = \"192.0.2.53\"\nkey_file = \"/etc/resilient/dns.key\"\nhome = \"web1\"\nservers = [\"192.0.2.53:5353\", \"2001:db8::53\"]\n",
    );
    let domains = node(&(text + NODES)).takeover.unwrap().domains;
    let found = &domains[0];
    assert_eq!((found.domain.as_str(), found.zone.as_str(), found.automatic), ("example.org", "example.org", false));
    assert!(matches!(&found.means, Pointing::Update { server, .. } if server.to_string() == "192.0.2.53:53"), "{found:?}");
    assert_eq!((found.ttl_short.as_secs(), found.ttl_long.as_secs(), found.objective.as_secs()), (300, 14_400, 900));
    assert_eq!(found.names, ["@", "www"]);
    assert_eq!(found.nodes[1].1.len(), 2);
    assert_eq!(found.servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.53:5353", "[2001:db8::53]:53"]);
}

#[test]
fn mistakes_are_told_with_their_lines() {
    insta::assert_snapshot!(mistakes(&with("domain = \"example\"\nmeans = \"carrier-pigeon\"\n")), @r#"
    node.toml has 4 mistakes:
      line 11: takeover.dns.home: is missing; write it as "web1"
      line 11: takeover.dns.node: is missing; write it as [[takeover.dns.node]]
      line 12: takeover.dns.domain: "example" is no domain; write it as "example.org", and other letters as xn--…
      line 13: takeover.dns.means: must be "zone-file" or "update" or "dyndns2" or "hook", not "carrier-pigeon"
    "#);
    let text = with(
        "domain = \"example.org\"\nmeans = \"zone-file\"\nserver = \"192.0.2.53\"\nhome = \"web3\"\nttl_short = \"2d\"\nactions = \"/a\"\nnames = [\"@\"]\n",
    );
    insta::assert_snapshot!(mistakes(&(text + &NODES.replace("192.0.2.1", "192.0.2.256"))), @r#"
    node.toml has 6 mistakes:
      line 11: takeover.dns.file: is missing; write it as "/etc/bind/db.example.org"
      line 14: takeover.dns.server: unknown key; did you mean `servers`?
      line 15: takeover.dns.home: "web3" is none of the nodes whose addresses stand here
      line 16: takeover.dns.ttl_short: is longer than `ttl_long`
      line 18: takeover.dns.names: stands beside `actions`; only one of them can hold
      line 21: takeover.dns.node.addresses: "192.0.2.256" is no address
    "#);
    let one = format!("domain = \"example.org\"\nmeans = \"hook\"\nprogram = \"/bin/point\"\nhome = \"web1\"\n{NODES}");
    insta::assert_snapshot!(mistakes(&with(&format!("{one}[[takeover.dns]]\n{one}"))), @"node.toml: line 11: takeover.dns: the domain example.org stands here twice");
}
