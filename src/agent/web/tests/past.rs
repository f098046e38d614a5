//! Everybody asks for history at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::agent::web::past::Archive;
use crate::agent::web::testing::{Stage, journal, manifests};
use crate::agent::web::{Operators, Texts, Web, Webhooks, router};

/// Journals that are read only once a test says so, and how many are being read.
struct Shelf {
    reading: AtomicUsize,
    most: AtomicUsize,
    gate: Semaphore,
}

impl Shelf {
    fn closed() -> Arc<Self> {
        Arc::new(Self { reading: AtomicUsize::new(0), most: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    fn journals(self: &Arc<Self>) -> crate::agent::web::Journals {
        let shelf = Arc::clone(self);
        Arc::new(move |_| {
            let shelf = Arc::clone(&shelf);
            Box::pin(async move {
                let reading = shelf.reading.fetch_add(1, Ordering::SeqCst) + 1;
                shelf.most.fetch_max(reading, Ordering::SeqCst);
                shelf.gate.acquire().await.unwrap().forget();
                shelf.reading.fetch_sub(1, Ordering::SeqCst);
                Ok(journal())
            })
        })
    }

    async fn until_read(&self, count: usize) {
        while self.reading.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

fn room(shelf: &Arc<Shelf>) -> Stage {
    let mut stage = Stage::looked();
    let (orders, received) = mpsc::channel(8);
    let web = Web {
        board: stage.board.clone(),
        orders,
        journals: shelf.journals(),
        webhooks: watch::channel(Webhooks::default()).1,
        operators: Operators::default(),
        texts: Texts {
            pass: |_, _, _| String::new(),
            retried: |_, _, _| String::new(),
            suspension: |_, _, _| String::new(),
            not_kept_out: |_| String::new(),
        },
    };
    stage.router = router(web, stage.stop.subscribe());
    stage.orders = received;
    stage
}

#[tokio::test]
async fn two_journals_are_read_at_a_time_and_whoever_asks_for_less_is_not_held_up() {
    let shelf = Shelf::closed();
    let stage = room(&shelf);
    let asked = ["/api/v1/apps/shop/history?last=0", "/api/v1/apps", "/api/v1/apps/shop", "/api/v1/apps/shop/history"];
    let all = join_all((0..24).map(|number| stage.get(asked[number % asked.len()])));
    let meanwhile = async {
        shelf.until_read(2).await;
        for _ in 0..100 {
            for path in ["/healthz", "/metrics", "/api/v1/agent", "/api/v1/apps/shop/diff"] {
                assert_eq!(stage.get(path).await.status, StatusCode::OK, "{path}");
            }
        }
        shelf.gate.add_permits(24);
    };
    let (replies, ()) = tokio::join!(all, meanwhile);
    assert!(replies.iter().all(|reply| reply.status == StatusCode::OK));
    assert_eq!(shelf.most.load(Ordering::SeqCst), 2);
}

/// A thousand connections that are cut off must not have a thousand journals read side by side.
#[tokio::test]
async fn who_has_gone_keeps_his_turn_until_it_is_over() {
    let shelf = Shelf::closed();
    let archive = Archive::new(shelf.journals());
    let root = || manifests()[0].app.root.clone();
    for count in 1..=2 {
        tokio::select! {
            biased;
            _ = archive.read(root(), drop) => panic!("the gate is closed"),
            () = shelf.until_read(count) => {}
        }
    }
    let third = archive.read(root(), |entries| (entries.len(), std::thread::current().id()));
    let meanwhile = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(shelf.reading.load(Ordering::SeqCst), 2);
        shelf.gate.add_permits(3);
    };
    let (third, ()) = tokio::join!(third, meanwhile);
    let (entries, thread) = third.unwrap();
    assert_eq!((entries, shelf.most.load(Ordering::SeqCst)), (journal().len(), 2));
    assert_ne!(thread, std::thread::current().id(), "it is put together elsewhere than the loop turns");
}
