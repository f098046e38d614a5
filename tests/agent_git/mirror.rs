//! What is kept of a branch, thrown away while the agent runs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_was_thrown_away_is_filled_again_without_a_new_commit() {
    let rows: [(&str, Damage); 3] = [
        ("the mirror", |own| fs::remove_dir_all(own.join("mirror")).unwrap()),
        ("what makes it a repository", |own| fs::remove_file(own.join("mirror/HEAD")).unwrap()),
        ("all of it", |own| fs::remove_dir_all(own.parent().unwrap()).unwrap()),
    ];
    for (what, damage) in rows {
        let mut site = Site::new();
        let one = site.release().await;
        let all = site.room.path().join("state/git");
        let own = fs::read_dir(&all).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap().path();
        damage(&own);
        for _ in 0..2 {
            assert_eq!(site.release().await, one, "{what}: the same commit is in force");
        }
        assert!(own.join("mirror/HEAD").exists(), "{what}");
        // An agent that is started while the remote is away has nothing else.
        let away = site.room.path().join("away");
        fs::rename(site.origin(""), &away).unwrap();
        site.restart();
        assert_eq!(said(&site.source.resume().await.expect(what)), one, "{what}");
        fs::rename(&away, site.origin("")).unwrap();
        let two = site.change("r2");
        assert_eq!(site.release().await, is(&two, "r2"), "{what}");
    }
}
