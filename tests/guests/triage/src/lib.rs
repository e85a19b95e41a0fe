//! Keeps, drops, deletes or rejects a job as its field `do` says, and leaves its mark on all it decides.
//!
//! Tests put another mark into the compiled bytes: another plugin without another build. `fix` is rejected under the mark `0000` only,
//! as by a plugin with a mistake that its next version no longer has; the mark `trap` ends with it, `slow` takes milliseconds for it, and `spin`
//! comes to no end.

use tidemill_plugin::prelude::*;

fields! {
    Triage
    reads Job in Jobs { number: Int, name: Text, what: Text = "do", note: Option<Text> }
    writes Done { id: Text, twice: Int, shout: Option<Text>, mark: Text }
}

static MARK: [u8; 9] = *b"mark=0000";

struct Triage {
    mark: String,
}

impl Fields for Triage {
    type Settings = NoSettings;

    fn start(_: NoSettings) -> Result<Triage, String> {
        // Unseen by the optimiser, or the mark would be folded into the code.
        let mark = std::hint::black_box(&MARK);
        Ok(Triage { mark: String::from_utf8_lossy(&mark[5..]).into_owned() })
    }

    fn row(&mut self, job: Job<'_>, done: &mut Done) -> Decision {
        let decision = match job.what {
            "keep" => Emit,
            "delete" => Delete,
            "drop" => return Ok(Drop),
            "reject" => return Err(format!("job {} is refused by {}", job.number, self.mark).into()),
            "fix" if self.mark == "0000" => return Err(format!("job {} meets a mistake of {}", job.number, self.mark).into()),
            "fix" if self.mark == "trap" => panic!("told to trap"),
            "fix" if self.mark == "spin" => loop {
                std::hint::black_box(());
            },
            "fix" if self.mark == "slow" => {
                // Nothing that an optimiser could know better.
                (0..1_000_000_u64).for_each(|turn| drop(std::hint::black_box(turn)));
                Emit
            }
            "fix" => Emit,
            other => return Err(format!("`{other}` is unknown").into()),
        };
        done.id.push(job.name);
        done.twice.push(2 * job.number);
        done.shout.push(job.note.map(str::to_uppercase).as_deref());
        done.mark.push(&self.mark);
        Ok(decision)
    }
}
