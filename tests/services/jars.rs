//! The jars of a service: asked of Maven once and kept outside of the source tree.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::skip_or_panic;

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// The folder of a service with its jars in `lib/`, and what `prepare` has put beside them. `None`, said loudly, where Java or Maven
/// is absent.
pub fn resolve(name: &str, pom: &str, prepare: impl FnOnce(&Path)) -> Option<PathBuf> {
    if !starts("java", "-version") {
        skip_or_panic(&format!("{name} needs Java 17 or newer, and `java` cannot be started"));
        return None;
    }
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap_or_else(std::env::temp_dir);
    let cache = home.join("tidemill-services");
    let folder = cache.join(name);
    fs::create_dir_all(&cache).expect("make the cache of services");
    // Other processes may want the same at the same time.
    let lock = File::create(cache.join(format!("{name}.lock"))).expect("make the lock file");
    lock.lock().expect("lock the service's jars");
    if fs::read_to_string(folder.join("pom.xml")).is_ok_and(|before| before == pom) {
        return Some(folder);
    }
    if !starts("mvn", "-version") {
        skip_or_panic(&format!("the jars of {name} are resolved with Maven, and `mvn` cannot be started"));
        return None;
    }
    // The file that says that the folder is whole comes last.
    let _ = fs::remove_dir_all(&folder);
    let asked = tempfile::tempdir().expect("a folder for Maven");
    let asked_pom = asked.path().join("pom.xml");
    fs::write(&asked_pom, pom).expect("write the coordinates");
    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "-ntp", COPY, "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.join("lib").display()));
    let output = maven.arg("-f").arg(&asked_pom).stdin(Stdio::null()).output().expect("start Maven");
    assert!(output.status.success(), "resolve {name}: {}", String::from_utf8_lossy(&output.stdout));
    prepare(&folder);
    fs::write(folder.join("pom.xml"), pom).expect("keep the coordinates");
    Some(folder)
}

fn starts(program: &str, argument: &str) -> bool {
    let status = Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
