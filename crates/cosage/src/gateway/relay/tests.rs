use super::*;

fn ticks(keep_alive: &mut KeepAlive, count: usize, listening: Listening) -> Vec<Tick> {
    (0..count).map(|_| keep_alive.tick(listening)).collect()
}

#[test]
fn nothing_is_pinged_while_both_sides_talk() {
    let mut keep_alive = KeepAlive::default();
    for _ in 0..10 {
        keep_alive.sent = true;
        keep_alive.heard = true;
        assert_eq!(keep_alive.tick(Listening::Yes), Tick::Nothing);
    }
}

#[test]
fn a_still_screen_is_pinged_as_long_as_the_client_answers() {
    let mut keep_alive = KeepAlive::default();
    for _ in 0..10 {
        assert_eq!(keep_alive.tick(Listening::Yes), Tick::Ping);
        keep_alive.heard = true;
    }
}

/// A listener never says anything by itself, so it is asked, however much it is sent.
#[test]
fn a_client_that_only_listens_is_asked_whether_it_is_there() {
    let mut keep_alive = KeepAlive {
        sent: true,
        ..KeepAlive::default()
    };
    assert_eq!(keep_alive.tick(Listening::Yes), Tick::Ping);
}

#[test]
fn three_silent_intervals_in_a_row_are_the_end() {
    let mut keep_alive = KeepAlive::default();
    assert_eq!(
        ticks(&mut keep_alive, 2, Listening::Yes),
        [Tick::Ping, Tick::Ping]
    );
    keep_alive.heard = true;
    assert_eq!(
        ticks(&mut keep_alive, 4, Listening::Yes),
        [Tick::Ping, Tick::Ping, Tick::Ping, Tick::GiveUp]
    );
}

/// A desktop that is frozen takes nothing, so its client is not read and cannot be heard.
#[test]
fn a_client_that_nobody_listens_to_is_not_silent() {
    let mut keep_alive = KeepAlive::default();
    assert!(
        ticks(&mut keep_alive, 10, Listening::No)
            .iter()
            .all(|tick| *tick == Tick::Ping)
    );
}

/// What a relay costs while nothing moves; with the two sockets' own state it is what an idle viewer costs.
#[test]
fn an_idle_relay_is_small() {
    assert!(size_of::<Relay>() <= 640, "{} bytes", size_of::<Relay>());
}
