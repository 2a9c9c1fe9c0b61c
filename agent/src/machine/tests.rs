//! Properties of the course: they hold for every sequence of events, likely or not.

use proptest::prelude::*;

use super::*;

fn any_code() -> impl Strategy<Value = RefusalCode> {
    proptest::sample::select(RefusalCode::ALL)
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::BundleFound),
        Just(Event::BundleGone),
        Just(Event::Opened),
        Just(Event::AlreadyRedeemed),
        Just(Event::Redeemed),
        Just(Event::InForce),
        Just(Event::Expired),
        Just(Event::Recovered),
        Just(Event::SessionUp),
        Just(Event::SessionLost),
        any_code().prop_map(Event::Refused),
        Just(Event::RetryDue),
        Just(Event::Retired),
    ]
}

fn any_course() -> impl Strategy<Value = (bool, Vec<Event>)> {
    (any::<bool>(), proptest::collection::vec(any_event(), 0..60))
}

fn run(start: Machine, events: &[Event]) -> (Machine, Vec<Action>) {
    let mut machine = start;
    let mut all = Vec::new();
    for event in events {
        let (next, actions) = machine.on(*event);
        machine = next;
        all.extend(actions);
    }
    (machine, all)
}

proptest! {
    #[test]
    fn a_new_bundle_leads_out_of_every_state((identity, events) in any_course()) {
        let (machine, _) = run(Machine::start(identity), &events);
        let (next, _) = machine.on(Event::BundleFound);
        prop_assert_eq!(next.state(), State::Opening);
        let (end, _) = run(next, &[Event::Opened, Event::Redeemed, Event::InForce, Event::SessionUp]);
        prop_assert_eq!(end.state(), State::Connected);
    }

    #[test]
    fn sessions_open_and_close_in_turn((identity, events) in any_course()) {
        let (machine, actions) = run(Machine::start(identity), &events);
        let mut open = false;
        for action in actions {
            match action {
                Action::TellConnected => {
                    prop_assert!(!open, "a second session beside an open one");
                    open = true;
                }
                Action::CloseSession => {
                    prop_assert!(open, "no session to close");
                    open = false;
                }
                _ => {}
            }
        }
        prop_assert_eq!(open, machine.state() == State::Connected);
    }

    #[test]
    fn there_is_one_identity_or_none((identity, events) in any_course()) {
        // Identities come by redeeming and go by retirement; nothing else makes or loses one.
        let mut machine = Machine::start(identity);
        let mut held = identity;
        for event in events {
            let (next, actions) = machine.on(event);
            if actions.contains(&Action::TellEnrolled) {
                prop_assert_eq!((machine.state(), event), (State::Redeeming, Event::Redeemed));
                held = true;
            }
            if actions.contains(&Action::ForgetIdentity) {
                prop_assert!(held, "forgot an identity that was not there");
                held = false;
            }
            prop_assert_eq!(next.identity, held);
            machine = next;
        }
    }

    #[test]
    fn only_who_holds_an_identity_connects((identity, events) in any_course()) {
        let (machine, _) = run(Machine::start(identity), &events);
        let needs = matches!(
            machine.state(),
            State::Enrolled | State::Connecting | State::Connected | State::Recovering
        );
        prop_assert!(!needs || machine.identity, "{machine:?}");
    }

    #[test]
    fn retired_is_final_but_for_a_new_bundle(events in proptest::collection::vec(any_event(), 0..60)) {
        let retired = [Event::InForce, Event::SessionUp, Event::Retired];
        let (machine, actions) = run(Machine::start(true), &retired);
        prop_assert_eq!(machine.state(), State::Retired);
        prop_assert!(actions.contains(&Action::ForgetIdentity));
        let others: Vec<_> = events.into_iter().filter(|e| *e != Event::BundleFound).collect();
        prop_assert_eq!(run(machine, &others).0.state(), State::Retired);
    }

    #[test]
    fn a_bundle_refused_for_good_never_costs_the_identity(code in any_code()) {
        let steps = [Event::InForce, Event::SessionUp, Event::BundleFound, Event::Refused(code)];
        let (machine, _) = run(Machine::start(true), &steps);
        prop_assert!(machine.identity);
        let (after, _) = machine.on(Event::BundleGone);
        prop_assert_eq!(after.state(), State::Connecting);
    }

    #[test]
    fn who_is_refused_waits_for_a_bundle_or_tries_again((identity, events) in any_course()) {
        let (machine, _) = run(Machine::start(identity), &events);
        if let State::Refused(code) = machine.state() {
            let (next, _) = machine.on(Event::RetryDue);
            prop_assert_eq!(machine.retries(), next.state() != machine.state());
            prop_assert!(machine.retries() || !machine.identity, "{code} leaves an identity idle");
        }
    }
}

#[test]
fn a_transient_refusal_keeps_the_bundle_and_a_final_one_drops_it() {
    let redeeming = [Event::BundleFound, Event::Opened];
    let (machine, _) = run(Machine::start(false), &redeeming);
    for code in RefusalCode::ALL {
        let (refused, actions) = machine.on(Event::Refused(*code));
        assert_eq!(refused.state(), State::Refused(*code));
        assert_eq!(actions, vec![Action::TellRefusal(*code)]);
        let (again, _) = refused.on(Event::RetryDue);
        let expected = if is_transient(*code) {
            State::Redeeming
        } else {
            State::Refused(*code)
        };
        assert_eq!(again.state(), expected, "{code}");
    }
}

#[test]
fn a_lost_control_plane_leaves_an_enrolled_plane_connecting() {
    let lost = Event::Refused(RefusalCode::ControlPlaneUnreachable);
    let (machine, _) = run(
        Machine::start(true),
        &[Event::InForce, Event::SessionUp, lost, lost],
    );
    assert_eq!(machine.state(), State::Connecting);
}

#[test]
fn the_bundle_goes_only_after_the_identity_is_there() {
    let (machine, actions) = run(
        Machine::start(false),
        &[
            Event::BundleFound,
            Event::AlreadyRedeemed,
            Event::Opened,
            Event::Redeemed,
        ],
    );
    assert_eq!(actions, vec![Action::TellEnrolled, Action::RemoveBundle]);
    assert!(machine.identity);
}
