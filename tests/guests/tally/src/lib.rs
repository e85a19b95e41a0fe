//! Numbers the jobs of each name, in state, and does what a job's field `do` says: `keep` or `drop` it, `reject` it before it is counted,
//! `trap` after it was counted, or `hoard` 1 KiB under its number.

use tidemill_plugin::prelude::*;

fields! {
    Tally
    reads Job in Jobs { number: Int, name: Text, what: Text = "do" }
    writes Done { id: Text, seen: Int }
}

struct Tally;

impl Fields for Tally {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<Tally, String> {
        Ok(Tally)
    }

    fn row(&mut self, job: Job<'_>, done: &mut Done) -> Decision {
        if job.what == "reject" {
            return Err(format!("job {} is refused", job.number).into());
        }
        if job.what == "hoard" {
            state::set(&job.number.to_be_bytes(), &[7; 1024])?;
        }
        let before = state::get(job.name.as_bytes())?.map_or(0, |value| i64::from_le_bytes(value.try_into().unwrap()));
        let seen = before + 1;
        state::set(job.name.as_bytes(), &seen.to_le_bytes())?;
        assert!(job.what != "trap", "told to trap");
        if job.what == "drop" {
            return Ok(Drop);
        }
        done.id.start().add(job.name).add(&format!("-{}", job.number));
        done.seen.push(seen);
        Ok(Emit)
    }
}
