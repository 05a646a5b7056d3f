//! Random joins, leaves, packets and reads against a model that keeps a queue for each pair of participants.

use std::collections::HashMap;

use super::*;

/// A small generator of our own, so that a seed means the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

#[derive(Default)]
struct Model {
    present: Vec<(MemberId, String, String)>,
    /// By subscriber and publisher's sid.
    expected: HashMap<(MemberId, String), VecDeque<String>>,
    taken: HashMap<MemberId, u64>,
}

impl Model {
    fn enter(&mut self, scene: &mut Scene, random: &mut Random) {
        let identity = format!("p{}", random.below(8));
        let mut joining = scene.joining(&identity);
        joining.random = std::array::from_fn(|_| random.below(256) as u8);
        // The one who had the identity is sent away and takes nothing more.
        self.present.retain(|(_, other, _)| *other != identity);
        let id = scene.join_as(joining);
        let sid = scene.room.participant(id).unwrap().sid.clone();
        self.present.push((id, identity, sid));
    }

    fn send(&mut self, scene: &mut Scene, random: &mut Random, number: usize) {
        let (from, _, sid) = self.present[random.below(self.present.len())].clone();
        if !scene.room.accepts(scene.now, from) {
            return;
        }
        let payload = format!("{number}:{}", "x".repeat(random.below(3000)));
        let targets: Vec<String> = (0..random.below(3))
            .map(|_| format!("p{}", random.below(8)))
            .collect();
        let names: Vec<&str> = targets.iter().map(String::as_str).collect();
        scene.send(from, &to(&names, &payload));
        for (id, identity, _) in &self.present {
            if *id != from && (targets.is_empty() || targets.contains(identity)) {
                self.expected
                    .entry((*id, sid.clone()))
                    .or_default()
                    .push_back(payload.clone());
            }
        }
    }

    fn take(&mut self, scene: &mut Scene, id: MemberId, most: usize) {
        for _ in 0..most {
            let Some(bytes) = scene.room.next_packet(scene.now, id, Channel::Reliable) else {
                break;
            };
            *self.taken.entry(id).or_default() += bytes.len() as u64;
            let packet = DataPacket::from_bytes(bytes).unwrap();
            let expected = self
                .expected
                .get_mut(&(id, packet.participant_sid.clone()))
                .and_then(VecDeque::pop_front);
            assert_eq!(expected, Some(text(&packet)), "in order and nothing else");
        }
        scene.collect();
    }
}

fn run(seed: u64) {
    let mut random = Random(seed | 1);
    let mut scene = Scene::new();
    let mut model = Model::default();
    for step in 0..600 {
        match random.below(20) {
            0..=1 => model.enter(&mut scene, &mut random),
            _ if model.present.is_empty() => {}
            2 => {
                let (id, ..) = model.present.swap_remove(random.below(model.present.len()));
                scene.request(id, Request::Leave(Default::default()));
                scene.tell(Input::Finished(id));
            }
            3 => {
                let (id, ..) = model.present[random.below(model.present.len())].clone();
                let total = model.taken.get(&id).copied().unwrap_or_default();
                scene.tell(Input::Acknowledged { member: id, total });
            }
            4 => scene.wait(Duration::from_millis(random.below(200) as u64)),
            5..=9 => {
                let (id, ..) = model.present[random.below(model.present.len())].clone();
                let most = random.below(30);
                model.take(&mut scene, id, most);
            }
            _ => model.send(&mut scene, &mut random, step),
        }
        if step % 100 == 99 {
            // Nobody is ever stalled here.
            for (id, ..) in model.present.clone() {
                model.take(&mut scene, id, usize::MAX);
            }
            assert_eq!(scene.room.logged(), 0);
        }
        assert_eq!(scene.room.participants(), model.present.len());
    }
    for (id, ..) in &model.present {
        for ((subscriber, publisher), waiting) in &model.expected {
            assert!(
                subscriber != id || waiting.is_empty(),
                "{} packets of {publisher} are missing",
                waiting.len()
            );
        }
    }
    let stats = scene.room.stats();
    assert_eq!(
        stats.cut_stalled + stats.cut_overrun + stats.joiners_skipped,
        0
    );
    scene.seconds(60);
    for (id, ..) in model.present {
        scene.request(id, Request::Leave(Default::default()));
        scene.tell(Input::Finished(id));
    }
    scene.seconds(60);
    assert!(scene.room.is_over(scene.now), "nothing is left over");
}

#[test]
fn everybody_gets_what_is_for_them_in_order() {
    for seed in 0..100 {
        let result = std::panic::catch_unwind(|| run(seed * 7919 + 17));
        assert!(result.is_ok(), "seed {}", seed * 7919 + 17);
    }
}
