//! Attacks on the table of rooms.

use lkstream_conformance::process::Failure;
use tokio::task::JoinSet;

use crate::guest::plain_join;
use crate::pair::{Joins, Pair};
use crate::server::{Server, token};
use crate::wire::{Caller, Link};

/// More rooms than a server keeps by default.
const ROOMS: usize = 10_500;

#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_nobody_else_joins_do_not_fill_the_table() -> Result<(), Failure> {
    let mut server = Server::start()?;
    let target = server.target();
    let mut pair = Pair::join(&target, "yard", Joins::EachTime).await?;
    let attack = async {
        // A token that leaves the room open makes as many as its bearer likes.
        let token = token("attacker", "");
        let mut joining = JoinSet::new();
        for worker in 0..4 {
            let (token, http) = (token.clone(), target.http);
            joining.spawn(async move {
                for number in (worker..ROOMS).step_by(4) {
                    let mut join = plain_join();
                    join.room = format!("room-{number}").as_str().into();
                    // Refused or not, the room is left at once.
                    let _ = Link::open(Caller::here(), http, &join.to_query(), &token).await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(joined) = joining.join_next().await {
            joined??;
        }
        Ok(())
    };
    server
        .endure(&mut pair, "10 500 rooms, each left at once", attack)
        .await?;
    Pair::join(&target, "a yard of its own", Joins::EachTime)
        .await
        .map(drop)
}
