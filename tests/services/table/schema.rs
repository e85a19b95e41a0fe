//! Keyspaces and tables that are made, that are not what the file says, and that change under a sink.

use scylla::value::CqlValue;
use tidemill::config::plan::{CqlType, SinkPlan};
use tidemill::sink::Error;

use super::check::said;
use super::{Row, open, plan, try_open};
use crate::cassandra;

#[track_caller]
fn refused(plan: &SinkPlan) -> String {
    match try_open(plan) {
        Err(Error::Systemic(reason)) => reason,
        Err(other) => panic!("it should stop: {other:?}"),
        Ok(_) => panic!("it opens"),
    }
}

#[test]
fn keyspace_and_table_are_made_once_with_their_replication_and_never_altered() {
    let Some(cassandra) = cassandra::shared() else { return };
    let mut wanted = plan(&cassandra.address(), "made.rows", &[("v", CqlType::Text)]);
    wanted.create = false;
    let reason = refused(&wanted);
    assert!(reason.contains("there is no keyspace `made`: CREATE KEYSPACE"), "{reason}");
    assert!(
        reason.contains(r#"CREATE TABLE IF NOT EXISTS "made"."rows" ("id" int, "v" text, PRIMARY KEY (("id")));"#),
        "{reason}"
    );
    wanted.create = true;
    wanted.cluster.replication = vec![("datacenter1".to_owned(), 1)];
    open(&wanted).put(Row::new(1, 1).text("v", "one"));
    let replication = cassandra.rows("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = 'made'");
    let text = format!("{:?}", replication[0]["replication"]);
    assert!(text.contains("NetworkTopologyStrategy") && text.contains("datacenter1"), "{text}");
    // The statements that were suggested are those that were run: now nothing is missing.
    wanted.create = false;
    open(&wanted).put(Row::new(2, 2).text("v", "two"));
    let wider = plan(&cassandra.address(), "made.rows", &[("v", CqlType::Text), ("w", CqlType::Set)]);
    let reason = refused(&wider);
    assert_eq!(reason, r#"table `made.rows` has no column `w`: ALTER TABLE "made"."rows" ADD "w" set<text>;"#);
    cassandra.execute(r#"ALTER TABLE "made"."rows" ADD "w" set<text>;"#);
    open(&wider).put(Row::new(3, 3).text("v", "three"));
}

#[test]
fn a_table_with_other_types_or_another_key_is_refused_with_the_way_out() {
    let Some(cassandra) = cassandra::shared() else { return };
    cassandra.create_keyspace("other");
    cassandra.execute("CREATE TABLE other.types (id int PRIMARY KEY, v bigint, l frozen<list<text>>, d duration)");
    let address = cassandra.address();
    let of = |table: &str, columns: &[(&str, CqlType)]| refused(&plan(&address, table, columns));
    let reason = of("other.types", &[("v", CqlType::Int)]);
    assert_eq!(reason, r#"column `v` is bigint in table `other.types`, and int here: declare it so: type = "bigint""#);
    let reason = of("other.types", &[("d", CqlType::Text)]);
    assert!(reason.ends_with("a column of type duration cannot be written: feed another one"), "{reason}");
    // Frozen or not, a list is written the same way.
    let table = open(&plan(&address, "other.types", &[("l", CqlType::List)]));
    let mut list = tidemill::record::Buffer::default();
    list.push(br#"["a"]"#);
    table.put(Row::new(1, 1).with("l", tidemill::record::Values::Json(list)));
    cassandra.execute("CREATE TABLE other.keys (id int, day date, v text, PRIMARY KEY (id, day))");
    let reason = of("other.keys", &[("v", CqlType::Text)]);
    assert!(reason.starts_with("nothing feeds `day`, which is part of the key of table `other.keys`: add day = {"), "{reason}");
    let reason = of("other.keys", &[("v", CqlType::Text), ("day", CqlType::Date)]);
    assert!(
        reason.starts_with("column `day` is a clustering column in table `other.keys`, and no part of the key here"),
        "{reason}"
    );
}

#[test]
fn a_column_added_while_it_runs_changes_nothing_and_one_that_is_dropped_stops_it() {
    let Some(cassandra) = cassandra::shared() else { return };
    let table = open(&plan(&cassandra.address(), "altered.rows", &[("v", CqlType::Text), ("w", CqlType::Text)]));
    let row = |id: i64| Row::new(id, id).text("v", "v").text("w", "w");
    table.put(row(1));
    cassandra.execute("ALTER TABLE altered.rows ADD x int");
    table.put(row(2));
    table.put(row(3));
    assert_eq!(cassandra.rows("SELECT id FROM altered.rows WHERE v = 'v' ALLOW FILTERING").len(), 3);
    cassandra.execute("ALTER TABLE altered.rows DROP w");
    match table.write(row(4)) {
        Err(Error::Systemic(reason)) => {
            assert!(reason.starts_with("table `altered.rows` has no column `w`: ALTER TABLE"), "{reason}")
        }
        other => panic!("it should stop: {other:?}"),
    }
    let left = cassandra.rows("SELECT id, v FROM altered.rows");
    assert!(left.len() == 3 && left.iter().all(|row| row["v"] == Some(CqlValue::Text("v".to_owned()))));
}

#[test]
fn a_table_that_is_dropped_while_it_runs_stops_it() {
    let Some(cassandra) = cassandra::shared() else { return };
    let table = open(&plan(&cassandra.address(), "dropped.rows", &[("v", CqlType::Text)]));
    table.put(Row::new(1, 1).text("v", "v"));
    cassandra.execute("DROP TABLE dropped.rows");
    match table.write(Row::new(2, 2).text("v", "v")) {
        Err(Error::Systemic(reason)) => assert!(reason.starts_with("there is no table `dropped.rows`"), "{reason}"),
        other => panic!("it should stop: {other:?}"),
    }
}

#[test]
fn the_cluster_wants_a_user_that_it_knows_and_a_data_centre_that_it_has() {
    let own = ["authenticator: PasswordAuthenticator", "authorizer: CassandraAuthorizer", "role_manager: CassandraRoleManager"];
    let Some(cassandra) = cassandra::Cassandra::own(&own) else { return };
    let mut wanted = plan(&cassandra.address(), "guarded.rows", &[("v", CqlType::Text)]);
    assert_eq!(refused(&wanted), "the cluster wants a user and a password");
    wanted.cluster.credentials = Some(("cassandra".into(), "wrong".into()));
    let reason = refused(&wanted);
    assert!(reason.contains("incorrect"), "{reason}");
    wanted.cluster.credentials = Some(("cassandra".into(), "cassandra".into()));
    // The first user is made a while after the start.
    let table = crate::support::wait_for("the first user", || try_open(&wanted).ok());
    table.put(Row::new(1, 1).text("v", "v"));
    wanted.cluster.datacenter = Some("datacenter2".to_owned());
    assert_eq!(refused(&wanted), "no node is in data centre `datacenter2`; there is: datacenter1");
    wanted.cluster.datacenter = Some("datacenter1".to_owned());
    open(&wanted).put(Row::new(2, 2).text("v", "v"));
    told_by_the_verbs(&cassandra.address());
}

/// The same, as `check --connect` and `doctor` say it: each with its place and a way out.
fn told_by_the_verbs(address: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let user = |password: &str| {
        std::fs::write(dir.path().join(password), password).expect("write the password");
        format!("username = \"cassandra\"\npassword = {{ file = \"{password}\" }}\n")
    };
    let no_user = "the cluster of sink `rows` refuses: the cluster wants a user and a password";
    let no_datacenter = "sink `rows`: no node is in data centre `datacenter2`; there is: datacenter1";
    let cases = [
        (String::new(), Some((3, "TM081", ":6:6", no_user, "username = { env = \"NAME\" }"))),
        (
            user("wrong"),
            Some((3, "TM081", ":8:12", "the cluster of sink `rows` refuses: ", "of a user that may read the schema and write")),
        ),
        (
            user("cassandra") + "datacenter = \"datacenter2\"\n",
            Some((2, "TM087", ":10:14", no_datacenter, "name one of those, or leave `datacenter` out")),
        ),
        (user("cassandra") + "datacenter = \"datacenter1\"\n", None),
    ];
    for (keys, wrong) in cases {
        let text = format!(
            "name = \"guarded\"\n[source]\nkind = \"generator\"\n[[sink]]\nname = \"rows\"\n\
             at = \"cassandra://{address}\"\ntable = \"guarded.rows\"\n{keys}\
             [sink.columns]\nid = {{ field = \"dob.age\", type = \"int\", key = \"partition\" }}\nv = \"email\"\n"
        );
        std::fs::write(dir.path().join("pipeline.toml"), text).expect("write the pipeline");
        let said = |verb| said(dir.path(), address, verb);
        let ((checked, check), (_, doctor)) = (said(&["check", "--connect"]), said(&["doctor"]));
        match wrong {
            Some((exit, code, place, message, way)) => {
                assert_eq!(checked, exit, "{check}");
                for part in [&format!("error[{code}]: {message}"), &format!("pipeline.toml{place}"), way] {
                    assert!(check.contains(part), "{part} is not said: {check}");
                }
                assert!(doctor.contains("✗ connections ") && doctor.contains(message) && doctor.contains(way), "{doctor}");
            }
            None => {
                assert_eq!(checked, 0, "{check}");
                assert!(doctor.contains("✓ connections    table `guarded.rows` at ADDRESS: as the file says"), "{doctor}");
            }
        }
    }
}
