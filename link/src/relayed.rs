//! What is carried for another is signed by whoever wrote it, and looked at by the one for whom it is: who carries it can lose it, delay it or double it, as any wire can, and
//! no more. Without that a member could renew a lease that nobody renewed, or give a role up in another's name.

use crate::identity::{Identity, Pin};
use election::{Envelope, Message, Peer};

const DOMAIN: &str = "resilient relayed 1\0";

fn bytes(inner: &Envelope) -> Vec<u8> {
    // Plain data is written the same by whoever writes it; what cannot be written has no proof that holds.
    serde_json::to_vec(inner).unwrap_or_default()
}

/// Signs what others are to carry for us.
pub fn sign(envelopes: &mut [Envelope], own: &Peer, identity: &Identity) {
    for envelope in envelopes {
        if let Message::Relay { inner, proof } = &mut envelope.message
            && inner.from == *own
        {
            *proof = identity.sign(DOMAIN, &bytes(inner));
        }
    }
}

/// Drops what was carried to us and is not of whom it says.
pub fn proven(mut envelopes: Vec<Envelope>, own: &Peer, pin_of: &dyn Fn(&Peer) -> Option<Pin>) -> Vec<Envelope> {
    envelopes.retain(|envelope| match &envelope.message {
        Message::Relay { inner, proof } if inner.to == *own => {
            pin_of(&inner.from).is_some_and(|pin| pin.proves(DOMAIN, &bytes(inner), proof))
        }
        _ => true,
    });
    envelopes
}

#[cfg(test)]
mod tests {
    use super::*;
    use election::{Epoch, NodeId};

    #[test]
    fn only_what_its_author_signed_is_heard() {
        let (web1, web2) = (Identity::passing().unwrap(), Identity::passing().unwrap());
        let node = |name: &str| Peer::Node(NodeId::from(name));
        let write = |from: &str, epoch: u64| Envelope {
            cluster: "shop".into(),
            from: node(from),
            to: Peer::Arbiter,
            seen: Epoch(epoch),
            message: Message::Stale { asked: Epoch(epoch) },
        };
        let carried = |inner: Envelope, proof: String| Envelope {
            from: node("web2"),
            message: Message::Relay { inner: Box::new(inner), proof },
            ..write("web2", 1)
        };
        let pin_of = |peer: &Peer| (*peer == node("web1")).then_some(web1.pin);
        let is_heard = |envelope: &Envelope| !proven(vec![envelope.clone()], &Peer::Arbiter, &pin_of).is_empty();

        let mut sent = vec![carried(write("web1", 1), String::new())];
        assert!(!is_heard(&sent[0]), "nobody signed it");
        sign(&mut sent, &node("web1"), &web1);
        assert!(is_heard(&sent[0]));
        let Message::Relay { proof, .. } = &sent[0].message else { panic!("it is a relay") };
        assert!(!is_heard(&carried(write("web1", 2), proof.clone())), "another word with the proof of this one");
        assert!(!is_heard(&carried(write("web3", 1), proof.clone())), "one whom nobody knows");

        let mut forged = vec![carried(write("web1", 1), String::new())];
        sign(&mut forged, &node("web1"), &web2);
        assert!(!is_heard(&forged[0]), "web2's key is not web1's");
        let mut others = vec![carried(write("web1", 1), String::new())];
        sign(&mut others, &node("web2"), &web2);
        assert!(!is_heard(&others[0]), "nobody signs for others");
        for proof in ["00", "zz", &"0".repeat(192)] {
            assert!(!is_heard(&carried(write("web1", 1), proof.to_owned())), "{proof}");
        }
        // What one merely carries on is not ours to judge.
        let on = proven(vec![carried(write("web1", 1), String::new())], &node("web2"), &pin_of);
        assert_eq!(on.len(), 1);
    }
}
