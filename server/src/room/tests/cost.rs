//! What a join and a leave cost, in places looked at, does not depend on how many have left before.

use super::*;

/// Looks at places for each of `rounds` calls of `round`, in the first quarter and in the last.
fn growth(scene: &mut Scene, rounds: u32, mut round: impl FnMut(&mut Scene, u32)) -> [u64; 2] {
    let quarter = rounds / 4;
    let mut looks = [0; 2];
    for number in 0..rounds {
        let before = scene.room.lookups.get();
        round(scene, number);
        let spent = scene.room.lookups.get() - before;
        if number < quarter {
            looks[0] += spent;
        } else if number >= rounds - quarter {
            looks[1] += spent;
        }
        scene.forget_outputs();
    }
    looks.map(|looks| looks / u64::from(quarter))
}

/// Everybody waits for one who has taken a packet and does not acknowledge it, so leavers pile up.
fn with_a_stalled_subscriber() -> (Scene, MemberId) {
    let mut scene = Scene::new();
    let [sender, stalled] = ["sender", "stalled"].map(|identity| scene.join(identity));
    scene.send(sender, &user(b"never acknowledged"));
    assert_eq!(scene.take(stalled).len(), 1);
    (scene, stalled)
}

fn joining(number: u32, identity: &str) -> Joining {
    let mut random = [0; 16];
    random[..4].copy_from_slice(&number.to_be_bytes());
    random[15] = 1;
    Joining::new(identity, random)
}

#[test]
fn many_joins_under_one_identity_cost_the_same_each() {
    let (mut scene, _) = with_a_stalled_subscriber();
    let [first, last] = growth(&mut scene, 4_000, |scene, number| {
        scene.join_as(joining(number, "again"));
    });
    assert!(
        last <= first + first / 4,
        "{first} at first, {last} in the end"
    );
    // Who came back is not kept.
    assert!(
        scene.room.leaving.len() <= 1,
        "{}",
        scene.room.leaving.len()
    );
    assert!(scene.room.places.len() < 10);
}

#[test]
fn many_leavers_cost_the_same_each() {
    let (mut scene, stalled) = with_a_stalled_subscriber();
    let count = 4_000;
    let [first, last] = growth(&mut scene, count, |scene, number| {
        let id = scene.join_as(joining(number, &format!("guest {number}")));
        scene.send(id, &to(&["sender"], "hello"));
        scene.request(id, Request::Leave(Default::default()));
        scene.tell(Input::Finished(id));
        let sender = scene.room.find(&Identity::from("sender")).unwrap();
        let total: usize = scene
            .take(sender)
            .iter()
            .map(|packet| packet.to_bytes().len())
            .sum();
        let total = scene.room.member(sender).unwrap().acknowledged + total as u64;
        scene.tell(Input::Acknowledged {
            member: sender,
            total,
        });
    });
    assert!(
        last <= first + first / 4,
        "{first} at first, {last} in the end"
    );
    assert_eq!(
        scene.room.leaving.len(),
        count as usize,
        "all wait for the stalled one"
    );

    // What it does acknowledge in the end is told at a cost for each leaver, not for each pair of them.
    let before = scene.room.lookups.get();
    let total = scene.room.member(stalled).unwrap().taken;
    scene.tell(Input::Acknowledged {
        member: stalled,
        total,
    });
    let spent = scene.room.lookups.get() - before;
    assert!(spent < u64::from(count) * 40, "{spent}");
    assert_eq!(scene.room.leaving.len(), 0);
}

#[test]
fn late_leaves_cost_the_same_each() {
    let (mut scene, stalled) = with_a_stalled_subscriber();
    let count = 2_000;
    for number in 0..count {
        let id = scene.join_as(joining(number, &format!("guest {number}")));
        scene.request(id, Request::Leave(Default::default()));
        scene.tell(Input::Finished(id));
        // Each has a deadline of its own.
        scene.now += Duration::from_millis(1);
    }
    scene.forget_outputs();
    let before = scene.room.lookups.get();
    scene.seconds(6);
    let spent = scene.room.lookups.get() - before;
    assert!(spent < u64::from(count) * 80, "{spent}");
    assert_eq!(scene.room.leaving.len(), 0);
    assert_eq!(scene.room.stats().late_leaves, u64::from(count));
    let told = scene.updates(stalled).len();
    assert_eq!(told, count as usize);
}
