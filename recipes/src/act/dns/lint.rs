//! What people find out in the hour of need, found out before: mail that goes along, names that stay behind, answers that are remembered too long.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::name::Name;
use super::set::{Kind, Set};
use crate::data::{Finding, Level};

/// What is looked at.
pub struct Subject<'a> {
    pub zone: &'a Name,
    pub domain: &'a Name,
    /// What a failover brings about.
    pub moved: &'a [Set],
    /// The addresses of the node that may die.
    pub home: &'a [IpAddr],
    /// Those of the others.
    pub others: &'a [IpAddr],
    pub objective: Duration,
}

/// What the zone has of a name and type, where it can be seen.
pub type View<'a> = dyn FnMut(&Name, Kind) -> Result<Set, String> + 'a;

pub fn lint(subject: &Subject<'_>, view: &mut View<'_>) -> Result<Vec<Finding>, String> {
    let mut found = Vec::new();
    let names: BTreeSet<&Name> = subject.moved.iter().map(|set| &set.name).collect();
    aliases(subject, view, &names, &mut found)?;
    mail(subject, view, &names, &mut found)?;
    beside(subject, view, &names, &mut found)?;
    times(subject, view, &mut found)?;
    servers(subject, view, &names, &mut found)?;
    senders(subject, view, &mut found)?;
    Ok(found)
}

fn warning(what: String, hint: &str) -> Finding {
    Finding::new(Level::Warning, what).hint(hint)
}

fn fault(what: String, hint: &str) -> Finding {
    Finding::new(Level::Fault, what).hint(hint)
}

fn aliases(subject: &Subject<'_>, view: &mut View<'_>, names: &BTreeSet<&Name>, found: &mut Vec<Finding>) -> Result<(), String> {
    for set in subject.moved.iter().filter(|set| set.kind == Kind::CNAME && set.name == *subject.zone) {
        let what = format!("{} would be an alias, and it is the apex of its zone: an alias cannot stand beside SOA and NS", set.name);
        found.push(fault(what, "declare A and AAAA records there"));
    }
    for name in names {
        let declared = subject.moved.iter().any(|set| set.is_of(name, Kind::CNAME));
        let alias = view(name, Kind::CNAME)?;
        if let Some(target) = alias.targets().first().filter(|_| !declared) {
            found.push(fault(
                format!("{name} is an alias of {target}, so it can have no address of its own"),
                "declare the name it stands for instead",
            ));
        }
    }
    Ok(())
}

fn mail(subject: &Subject<'_>, view: &mut View<'_>, names: &BTreeSet<&Name>, found: &mut Vec<Finding>) -> Result<(), String> {
    let mut asked = names.clone();
    asked.insert(subject.domain);
    for name in asked {
        let exchanges = view(name, Kind::MX)?;
        for target in exchanges.targets().iter().filter(|target| names.contains(target)) {
            let what = format!(
                "mail for {name} goes to {target}, which moves: it would arrive at the other node, and be lost unless that takes it"
            );
            found.push(warning(
                what,
                "let MX point to a name that stays, as mail.DOMAIN, with the address of the mail server; or leave this name out",
            ));
        }
    }
    Ok(())
}

fn beside(subject: &Subject<'_>, view: &mut View<'_>, names: &BTreeSet<&Name>, found: &mut Vec<Finding>) -> Result<(), String> {
    let www = subject.domain.below("www");
    for (moves, stays) in [(subject.domain, &www), (&www, subject.domain)] {
        if !names.contains(moves) || names.contains(stays) {
            continue;
        }
        let follows = view(stays, Kind::CNAME)?.targets().iter().any(|target| names.contains(target));
        let mut is_there = false;
        for kind in [Kind::A, Kind::AAAA] {
            is_there |= !view(stays, kind)?.values.is_empty();
        }
        if is_there && !follows {
            found.push(warning(
                format!("{moves} moves and {stays} does not: whoever asks for it stays at the host that died"),
                "declare it, too",
            ));
        }
    }
    for name in names {
        let declared = |kind| subject.moved.iter().any(|set| set.is_of(name, kind));
        for (kind, other) in [(Kind::AAAA, Kind::A), (Kind::A, Kind::AAAA)] {
            if declared(other) && !declared(kind) && !view(name, kind)?.values.is_empty() {
                let what = format!("{name} has {kind} records that do not move: whoever prefers them stays at the host that died");
                found.push(warning(what, "declare them, too, or take them out of the zone"));
            }
        }
    }
    Ok(())
}

fn times(subject: &Subject<'_>, view: &mut View<'_>, found: &mut Vec<Finding>) -> Result<(), String> {
    let most = subject.objective.as_secs();
    for set in subject.moved {
        if u64::from(set.ttl) > most {
            let what =
                format!("{} {} has a TTL of {} s while failed over, longer than the objective of {most} s", set.name, set.kind, set.ttl);
            found.push(fault(what, "shorten `ttl_short` or the TTL in FAILOVER.ov, or set another `objective`"));
        }
        let now = view(&set.name, set.kind)?;
        if u64::from(now.ttl) > most {
            let what = format!("{} {} is remembered for {} s now, longer than the objective of {most} s", set.name, set.kind, now.ttl);
            found.push(warning(what, "run `importer dns prepare`, or keep the TTL short for good; else a failover is seen so late"));
        }
    }
    Ok(())
}

fn servers(subject: &Subject<'_>, view: &mut View<'_>, names: &BTreeSet<&Name>, found: &mut Vec<Finding>) -> Result<(), String> {
    let servers = view(subject.zone, Kind::NS)?.targets();
    let mut there = 0;
    for server in &servers {
        let mut dies = names.contains(server);
        if server.is_within(subject.zone) {
            for kind in [Kind::A, Kind::AAAA] {
                dies |= view(server, kind)?.addresses().iter().any(|address| subject.home.contains(address));
            }
        }
        if dies {
            there += 1;
            found.push(warning(
                format!("the name server {server} is on the host that may die, or moves with it"),
                "have a name server elsewhere",
            ));
        }
    }
    if there > 0 && there == servers.len() {
        let what = format!("every name server of {} is on the host that may die: nobody would hear of a failover", subject.zone);
        found.push(fault(what, "have a secondary elsewhere, and take the primary to another host"));
    }
    Ok(())
}

fn senders(subject: &Subject<'_>, view: &mut View<'_>, found: &mut Vec<Finding>) -> Result<(), String> {
    let texts = view(subject.domain, Kind::TXT)?.texts();
    for text in texts
        .iter()
        .map(|text| text.replace("\" \"", "").replace('"', ""))
        .filter(|text| text.to_ascii_lowercase().starts_with("v=spf1"))
    {
        let parts: Vec<String> = text.split_whitespace().map(|part| part.trim_start_matches('+').to_ascii_lowercase()).collect();
        let has = |address: &IpAddr| parts.iter().any(|part| [format!("ip4:{address}"), format!("ip6:{address}")].contains(part));
        let missing: Vec<String> = subject.others.iter().filter(|address| !has(address)).map(IpAddr::to_string).collect();
        if subject.home.iter().any(has) && !missing.is_empty() {
            let what = format!("the SPF record of {} allows the host that may die, and not {}", subject.domain, missing.join(", "));
            found.push(warning(what, "add them to the record: else mail from the node that took over is taken for spam"));
        }
        if parts.iter().any(|part| part == "a" || part.starts_with("a:")) && subject.moved.iter().any(|set| set.name == *subject.domain) {
            let what = format!(
                "the SPF record of {} goes by an address that moves: after a failover the first host may send no more mail",
                subject.domain
            );
            found.push(warning(what, "name the mail server's address in it instead of `a`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::dns::zone::Written;

    /// What is found in a zone of these lines, when these records move.
    fn found(zone: &str, moved: &str) -> Vec<(Level, String)> {
        let name = Name::parse(b"example.org.", None).unwrap();
        let whole = |text: &str| text.lines().map(|line| format!("{}\n", line.replace('@', "example.org."))).collect::<String>();
        let written = Written::read(&whole(zone));
        let moves = Written::read(&whole(moved));
        let www = name.below("www");
        let sets = [&name, &www]
            .into_iter()
            .flat_map(|name| [Kind::A, Kind::AAAA, Kind::CNAME].map(|kind| moves.set(name, kind).unwrap()));
        let moved: Vec<Set> = sets.filter(|set| !set.values.is_empty()).collect();
        let (home, others) = (["192.0.2.1".parse().unwrap()], ["198.51.100.7".parse().unwrap()]);
        let objective = Duration::from_secs(600);
        let subject = Subject { zone: &name, domain: &name, moved: &moved, home: &home, others: &others, objective };
        let list = lint(&subject, &mut |name, kind| written.set(name, kind)).unwrap();
        list.into_iter().map(|finding| (finding.level, finding.what)).collect()
    }

    #[track_caller]
    fn one(zone: &str, moved: &str, level: Level, part: &str) {
        let list = found(zone, moved);
        assert!(list.len() == 1 && list[0].0 == level && list[0].1.contains(part), "{list:?}");
    }

    const MOVED: &str = "@ 300 IN A 198.51.100.7\nwww.@ 300 IN A 198.51.100.7";
    const GOOD: &str = "@ 300 IN A 192.0.2.1\nwww.@ 300 IN A 192.0.2.1\n@ 60 IN NS ns.@\nns.@ 60 IN A 203.0.113.53\n@ 60 IN MX 10 mail.@\nmail.@ 60 IN A 192.0.2.25";

    #[test]
    fn a_zone_that_is_well_has_nothing_to_say() {
        assert_eq!(found(GOOD, MOVED), []);
    }

    #[test]
    fn each_trap_is_named() {
        one(&GOOD.replace("10 mail.@", "10 @"), MOVED, Level::Warning, "mail for example.org. goes to example.org., which moves");
        one(&format!("{GOOD}\nwww.@ 60 IN AAAA 2001:db8::1"), MOVED, Level::Warning, "www.example.org. has AAAA records that do not move");
        one(GOOD, "www.@ 300 IN A 198.51.100.7", Level::Warning, "www.example.org. moves and example.org. does not");
        one(GOOD, "@ 300 IN A 198.51.100.7", Level::Warning, "example.org. moves and www.example.org. does not");
        one(GOOD, &format!("{MOVED}\n@ 60 IN CNAME other.example.net."), Level::Fault, "apex");
        one(
            &GOOD.replace("www.@ 300 IN A 192.0.2.1", "www.@ 300 IN CNAME x.example.net."),
            MOVED,
            Level::Fault,
            "www.example.org. is an alias",
        );
        one(GOOD, &MOVED.replace("www.@ 300", "www.@ 900"), Level::Fault, "TTL of 900 s while failed over");
        one(&GOOD.replace("www.@ 300", "www.@ 14400"), MOVED, Level::Warning, "is remembered for 14400 s now");
        one(&format!("{GOOD}\n@ 60 IN NS ns2.@\nns2.@ 60 IN A 192.0.2.1"), MOVED, Level::Warning, "the name server ns2.example.org.");
        one(&format!("{GOOD}\n@ 60 IN TXT \"v=spf1 ip4:192.0.2.1 -all\""), MOVED, Level::Warning, "and not 198.51.100.7");
        one(&format!("{GOOD}\n@ 60 IN TXT \"v=spf1 a -all\""), MOVED, Level::Warning, "goes by an address that moves");
        let all = found(&GOOD.replace("203.0.113.53", "192.0.2.1"), MOVED);
        assert!(all.iter().any(|(level, what)| *level == Level::Fault && what.contains("every name server")), "{all:?}");
    }

    #[test]
    fn www_as_an_alias_of_what_moves_moves_with_it() {
        let zone = GOOD.replace("www.@ 300 IN A 192.0.2.1", "www.@ 300 IN CNAME @");
        assert_eq!(found(&zone, "@ 300 IN A 198.51.100.7"), []);
    }
}
