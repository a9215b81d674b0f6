//! Records beside snapshots: runs, sealing identities, certificates, receipts, evidence; each from wherever it stands.

use super::Repository;
use crate::error::{Error, Result};
use crate::id::{IdentityId, RecordId};
use crate::locate::{self, Location};
use crate::name;
use crate::record::{self, Body, Certificate, Evidence, Receipt, RecordKind, Run, RunUse, SealingIdentity, Signed};
use crate::repository::Known;
use crate::store::{Listed, read_part};
use crate::trust::{Certified, Trust};

impl Repository {
    /// The run that a snapshot uses, from `runs/` or from where it was embedded. Its hash is checked.
    pub fn run(&self, used: &RunUse) -> Result<Signed<Run>> {
        let name = name::run(used.run);
        let signed: Signed<Run> = match self.first_record(&name) {
            Ok(signed) if signed.id() == used.record => signed,
            first => match self.embedded_run(used.record)? {
                Some(signed) => signed,
                None => first.and_then(|_| Err(Error::damaged(&name, "it is not the run that the snapshot lists")))?,
            },
        };
        if signed.id() != used.record || signed.body.id != used.run {
            return Err(Error::damaged(&name, "it is not the run that the snapshot lists"));
        }
        self.check_run(&name, &signed)?;
        Ok(signed)
    }

    /// Checks what a run record says of itself.
    pub fn check_run(&self, name: &str, signed: &Signed<Run>) -> Result<()> {
        self.check_place(name, &signed.body.cluster, &signed.body.dataset)?;
        if record::run_id(&signed.signer, &signed.body.nonce) != signed.body.id {
            return Err(Error::refused(name, "its id was not made by its signer"));
        }
        Ok(())
    }

    pub(crate) fn embedded_run(&self, id: RecordId) -> Result<Option<Signed<Run>>> {
        let found = {
            let locations = self.locations()?;
            let known = locations.as_ref();
            known.and_then(|known| known.record(RecordKind::Run, id).map(|at| (at, known.container(at).to_string())))
        };
        let Some((at, container)) = found else { return Ok(None) };
        let bytes = read_part(self.store(), &container, at.offset.into(), at.len as usize)?;
        Signed::parse(&bytes).map(Some).map_err(|why| Error::damaged(&container, why))
    }

    /// Every generation of a sealing identity, from `keys/` and from copies in packs, newest first.
    pub fn sealing_identities(&self, id: IdentityId) -> Result<Vec<Signed<SealingIdentity>>> {
        let mut found = Vec::new();
        for listed in self.list(name::KEYS)? {
            if name::parse_key(&listed.name).is_some_and(|(of, _)| of == id)
                && let Ok(signed) = self.first_record::<SealingIdentity>(&listed.name)
            {
                found.push(signed);
            }
        }
        if found.is_empty() {
            found = self.identity_copies(id)?;
        }
        found.retain(|signed| {
            signed.body.id == id && signed.body.cluster == self.config.cluster && signed.body.dataset == self.config.dataset
        });
        found.sort_by_key(|signed| std::cmp::Reverse(signed.body.generation));
        Ok(found)
    }

    fn identity_copies(&self, id: IdentityId) -> Result<Vec<Signed<SealingIdentity>>> {
        let mut found = self.records_in_containers::<SealingIdentity>()?;
        found.retain(|signed| signed.body.id == id);
        Ok(found)
    }

    /// The readable records of a kind that lie in packs and with snapshots.
    pub(crate) fn records_in_containers<B: Body>(&self) -> Result<Vec<Signed<B>>> {
        let places: Vec<(String, Location)> = {
            let locations = self.locations()?;
            let known = locations.as_ref();
            known.map_or_else(Vec::new, |known| known.records(B::KIND).map(|(_, at)| (known.container(at).to_string(), at)).collect())
        };
        let mut found = Vec::new();
        for (container, at) in places {
            let bytes = read_part(self.store(), &container, at.offset.into(), at.len as usize)?;
            found.extend(Signed::<B>::parse(&bytes).ok());
        }
        Ok(found)
    }

    /// The nodes whose certificates the cluster key made.
    pub fn certified(&self, trust: &Trust) -> Result<Certified> {
        let mut certified = Certified::default();
        for listed in self.list(name::NODES)? {
            if let Ok(signed) = self.first_record::<Certificate>(&listed.name) {
                certified.add(trust, &self.config.cluster, &signed);
            }
        }
        Ok(certified)
    }

    /// Receipts of a snapshot: those that came with it and those that stand alone.
    pub fn receipts(&self, known: &Known) -> Result<Vec<Signed<Receipt>>> {
        let mut found = Vec::new();
        let listed = Listed { name: known.name.clone(), len: self.len_of(&known.name)? };
        for item in locate::read_items(self.store(), &listed)?.0 {
            if let crate::container::ItemKey::Record(RecordKind::Receipt, _) = item.key
                && let Ok(signed) = Signed::<Receipt>::parse(&read_part(self.store(), &known.name, item.offset.into(), item.len as usize)?)
            {
                found.push(signed);
            }
        }
        for listed in self.list(name::RECEIPTS)? {
            if name::subject(&listed.name) == Some(known.id)
                && let Ok(signed) = self.first_record::<Receipt>(&listed.name)
            {
                found.push(signed);
            }
        }
        found.retain(|signed| signed.body.snapshot == known.id);
        Ok(found)
    }

    fn len_of(&self, name: &str) -> Result<u64> {
        let folder = if name.starts_with(name::SNAPSHOTS) { name::SNAPSHOTS } else { name::QUARANTINE };
        let found = self.list(folder)?.into_iter().find(|listed| listed.name == name);
        found.map(|listed| listed.len).ok_or_else(|| Error::Missing { name: name.into() })
    }

    /// Evidence about snapshots, by those who imported or drilled them.
    pub fn evidence(&self) -> Result<Vec<Signed<Evidence>>> {
        let listed = self.list(name::RECORDS)?;
        Ok(listed.iter().filter_map(|listed| self.first_record::<Evidence>(&listed.name).ok()).collect())
    }
}
