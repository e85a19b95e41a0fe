//! Other code for a pipeline that runs: looks at the files when they change or somebody asks, makes a candidate of what is there now, and
//! brings it into force, keeps it waiting, or says why not. One attempt at a time; every one leaves a receipt.
//!
//! A look takes all files as they are now. So what was refused stays a candidate by lying there, and two files that only fit together end
//! as one swap when the second one is saved.

mod attempt;
mod receipt;
mod wish;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::receipt::Attempt;
use super::breaker::Verdict;
use super::candidate::{Candidate, Present, summary, unknown_change};
use super::control::Shared;
use super::quarantine::Quarantine;
use super::start::{Assembled, Options};
use crate::config::Loaded;
use crate::config::diagnostic::Diagnostic;
use crate::config::diff::{Difference, difference};
use crate::config::plan::PluginPath;
use crate::plugin::{BuildError, Engine, Plugin, Watch, Watched, build_directory, component_path};
use crate::status::swap::{Change, Outcome, Receipt, Refusal, Wish};

/// How the pipeline file is read again, and what of all files is watched.
pub struct Live {
    pub read: Box<dyn Fn() -> Result<Loaded, Vec<Diagnostic>> + Send + Sync>,
    pub watching: Watching,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watching {
    Nothing,
    /// The pipeline file and the components.
    Files,
    /// The source of plugins that are directories as well: they are built when it changes.
    Sources,
}

pub(super) struct Order {
    pub stage: Option<String>,
    pub wish: Wish,
    pub who: &'static str,
    pub reply: Option<oneshot::Sender<Result<Receipt, Refusal>>>,
}

/// Orders that wait; whoever brings one more waits himself (invariant 8).
pub(super) const ORDERS_MAX: usize = 16;

/// The next legs of a pipeline whose source, topic or sinks have changed.
pub(super) struct Restart {
    pub assembled: Assembled,
    pub started: oneshot::Sender<()>,
}

/// What waits for a person or for its agreement with the present code.
struct Pending {
    candidate: Candidate,
    changes: Vec<Change>,
    /// Of code that runs beside the present one.
    agreed: Option<watch::Receiver<bool>>,
}

pub(super) struct Reloader {
    shared: Arc<Shared>,
    live: Arc<Live>,
    engine: Engine,
    options: Options,
    restarts: mpsc::Sender<Restart>,
    watch: Option<Watch>,
    present: Present,
    /// The last one that the breaker has let pass.
    pub(super) good: Present,
    pending: Option<Pending>,
    /// Taken back or discarded: not tried again until it changes. Kept in the store.
    held: Quarantine,
    /// What was refused last, so that it is told once; and plugins that were compiled for it.
    refused: Option<String>,
    tried: Vec<Arc<Plugin>>,
    builds: JoinSet<(PathBuf, Result<PathBuf, BuildError>)>,
    /// Folders that are being built, and whether they have changed again.
    building: HashMap<PathBuf, bool>,
    /// What lies there is to be tried once more: what runs has changed.
    again: bool,
}

impl Reloader {
    pub(super) fn new(
        shared: Arc<Shared>,
        live: Arc<Live>,
        engine: Engine,
        options: Options,
        present: Present,
        held: Quarantine,
        restarts: mpsc::Sender<Restart>,
    ) -> Reloader {
        let watch = match live.watching {
            Watching::Nothing => None,
            Watching::Files | Watching::Sources => match Watch::start() {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::warn!("files are not watched: {error}; reload with SIGHUP or the API");
                    None
                }
            },
        };
        let reloader = Reloader {
            shared,
            live,
            engine,
            options,
            restarts,
            watch,
            good: present.clone(),
            present,
            pending: None,
            // What lies there is told, also where nothing is watched.
            again: !held.is_empty(),
            held,
            refused: None,
            tried: Vec::new(),
            builds: JoinSet::new(),
            building: HashMap::new(),
        };
        reloader.watch_files(None);
        let path = reloader.present.plan.file.display().to_string();
        let watched = reloader.watch.is_some();
        reloader.shared.reporter.update(|snapshot| (snapshot.file.path, snapshot.file.watched) = (path, watched));
        reloader
    }

    /// Until the pipeline ends.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut verdicts = self.shared.breaker.verdicts();
        loop {
            if std::mem::take(&mut self.again) {
                self.look("watch", false).await;
            }
            let changed = async {
                match &self.watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            let agreed = async {
                match self.pending.as_ref().and_then(|pending| pending.agreed.clone()) {
                    Some(mut agreed) => {
                        if agreed.wait_for(|agreed| *agreed).await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Ok(()) = verdicts.changed() => {
                    let verdict = verdicts.borrow_and_update().clone();
                    match verdict.filter(|verdict| verdict.generation == self.number()) {
                        Some(Verdict { generation, stopped: Some(reason) }) => self.take_back(generation, reason).await,
                        Some(Verdict { stopped: None, .. }) => self.watch_ended().await,
                        None => {}
                    }
                }
                order = orders.recv() => {
                    let Some(Order { stage, wish, who, reply }) = order else { return };
                    let answer = self.obey(stage.as_deref(), wish, who).await;
                    if let Some(reply) = reply {
                        // Whoever asked may have gone away.
                        let _ = reply.send(answer);
                    }
                }
                Some(built) = self.builds.join_next() => {
                    if let Ok((folder, built)) = built {
                        self.built(folder, built).await;
                    }
                }
                changed = changed => self.changed(changed).await,
                () = agreed => {
                    let pending = self.pending.take().expect("only what is pending agrees");
                    self.promote(pending, "shadow").await;
                }
            }
        }
    }

    /// Watches what runs, and what the file names now.
    fn watch_files(&self, also: Option<&Loaded>) {
        let Some(watch) = &self.watch else { return };
        let mut wanted = BTreeSet::from([Watched::File(self.present.plan.file.clone())]);
        let stages = self.present.plan.stages.iter().chain(also.into_iter().flat_map(|loaded| &loaded.pipeline.stages));
        for stage in stages {
            match &stage.plugin {
                PluginPath::Component(path) => wanted.insert(Watched::File(path.clone())),
                PluginPath::Directory(folder) => {
                    if self.live.watching == Watching::Sources {
                        wanted.insert(Watched::Source(folder.clone()));
                    }
                    wanted.insert(Watched::File(component_path(folder)))
                }
            };
        }
        watch.set(wanted);
    }

    async fn changed(&mut self, changed: BTreeSet<Watched>) {
        let mut look = false;
        for watched in changed {
            match watched {
                Watched::File(_) => look = true,
                Watched::Source(folder) => self.build(folder),
            }
        }
        if look {
            self.look("watch", false).await;
        }
    }

    fn build(&mut self, folder: PathBuf) {
        if let Some(again) = self.building.get_mut(&folder) {
            *again = true;
            return;
        }
        self.building.insert(folder.clone(), false);
        self.show_folder(&folder, Some(("building", None)));
        self.builds.spawn_blocking(move || {
            let built = build_directory(&folder);
            (folder, built)
        });
    }

    async fn built(&mut self, folder: PathBuf, built: Result<PathBuf, BuildError>) {
        let again = self.building.remove(&folder) == Some(true);
        self.show_folder(&folder, None);
        match built {
            Ok(_) => drop(self.look("watch", false).await),
            // What is wrong may be repaired already.
            Err(_) if again => {}
            Err(BuildError::Ended) => return,
            Err(error) => {
                let attempt = self.attempt("watch");
                let stages: Vec<String> = self.stages_of(&folder).map(str::to_owned).collect();
                let changes = stages.iter().map(|stage| unknown_change(&self.present, stage, None)).collect();
                let reason = format!("build {}: {error}", folder.display());
                for stage in &stages {
                    self.show(stage, Some(("refused", "", Some(reason.clone()))));
                }
                self.finish(
                    Attempt { receipt: Receipt { changes, reason: Some(reason), ..attempt.receipt }, ..attempt },
                    Outcome::Refused,
                )
                .await;
            }
        }
        if again {
            self.build(folder);
        }
    }

    fn stages_of(&self, folder: &std::path::Path) -> impl Iterator<Item = &str> {
        let of_folder = move |plugin: &PluginPath| matches!(plugin, PluginPath::Directory(dir) if dir == folder);
        self.present.plan.stages.iter().filter(move |stage| of_folder(&stage.plugin)).map(|stage| stage.name.as_str())
    }

    /// Tries what the files hold now.
    async fn look(&mut self, who: &str, force: bool) -> Receipt {
        let attempt = self.attempt(who);
        let loaded = match (self.live.read)() {
            Ok(loaded) => loaded,
            Err(found) => {
                self.show_file(&found);
                return self.refuse(attempt, Vec::new(), summary(&found), &found).await;
            }
        };
        if force {
            self.held = Quarantine::default();
            self.keep_held().await;
        }
        self.watch_files(Some(&loaded));
        match difference(&self.present.plan, &loaded.pipeline) {
            Difference::Stages => self.swap(attempt, loaded).await,
            Difference::Another(reason) => self.refuse(attempt, Vec::new(), reason, &[]).await,
            Difference::Restart(parts) => self.restart(attempt, loaded, &parts).await,
        }
    }
}
