use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn told(fields: &[(&str, &str)]) -> Result<Told, Malformed> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Told::read(&headers)
}

#[test]
fn to_5_an_upload_in_many_pieces_leaves_the_wait_for_an_answer_as_long_as_ever() {
    let start = Instant::now();
    for (told, most) in
        [(Told::default(), MS(900 + 500)), (told(&[("x-deadline", "1200")]).unwrap(), MS(1200))]
    {
        let policy = RequestTimeout::UntilHead(MS(500));
        let pieces = (0..10).map(|nth| start + MS(100) * nth);
        let last = pieces.fold(Deadline::new(start, policy, &told), Deadline::while_flowing);
        assert_eq!(last.head, start + most);
    }
    let written = RequestTimeout::Whole(MS(500));
    let deadline = Deadline::new(start, written, &Told::default());
    assert_eq!(deadline.while_flowing(start + MS(400)), deadline);
}

const IDLE: Duration = Duration::from_mins(5);

/// gRPC and tunnels: neither the built-in limit nor a written one counts while the request's content flows.
#[test]
fn to_5_a_stream_is_bounded_by_idle_until_its_request_is_complete() {
    let start = Instant::now();
    let (late, built_in) = (start + MS(60_000), RequestTimeout::UntilHead(MS(500)));
    for (policy, answer) in [(built_in, IDLE), (RequestTimeout::Whole(MS(500)), MS(500))] {
        let stream = Deadline::of_stream(start, policy, IDLE, &Told::default());
        assert_eq!((stream.head, stream.whole), (start + IDLE, None));
        assert_eq!(stream.while_flowing(late).head, late + IDLE);
        let complete = stream.completed(late);
        assert_eq!((complete.head, complete.whole), (late + answer, None), "the body may take its time");
        assert_eq!(complete.to_pass_on(late), None, "a limit on the head is not passed on");
    }
}

#[test]
fn dl_1_a_stream_takes_as_long_as_its_caller_said_and_passes_that_on() {
    let start = Instant::now();
    let told = told(&[("grpc-timeout", "2S")]).unwrap();
    let stream = Deadline::of_stream(start, RequestTimeout::Whole(MS(500)), IDLE, &told);
    assert_eq!((stream.left(start), stream.to_pass_on(start)), (Some(MS(2000)), Some(MS(2000))));
    let later = stream.completed(start + MS(300));
    assert_eq!((later.head, later.whole), (start + MS(800), Some(start + MS(2000))));
    assert_eq!(later.to_pass_on(start + MS(300)), Some(MS(1700)));
}

/// What happens to a request on its way: time passes, and content flows or (`true`) was the last.
fn history() -> impl Strategy<Value = Vec<(u64, bool)>> {
    prop::collection::vec((0u64..400_000, prop::bool::weighted(0.2)), 0..12)
}

proptest! {
    #[test]
    fn to_5_no_stream_waits_longer_than_idle_or_told(
        limit in 1u64..1_000_000, is_whole in any::<bool>(), said in prop::option::of(0u64..2_000_000), history in history(),
    ) {
        let start = Instant::now();
        let policy = if is_whole { RequestTimeout::Whole(MS(limit)) } else { RequestTimeout::UntilHead(MS(limit)) };
        let fields = said.map(|said| said.to_string());
        let told = told(&fields.iter().map(|said| ("x-deadline", said.as_str())).collect::<Vec<_>>()).unwrap();
        let whole = said.map(|said| start + MS(said));
        let (mut now, mut since, mut wait) = (start, start, IDLE);
        let mut complete = false;
        let mut deadline = Deadline::of_stream(start, policy, IDLE, &told);
        for (passed, is_last) in history {
            now += MS(passed);
            if !complete {
                (since, wait) = (now, if is_whole && is_last { MS(limit) } else { IDLE });
            }
            complete |= is_last;
            deadline = if is_last { deadline.completed(now) } else { deadline.while_flowing(now) };
            let head = whole.map_or(since + wait, |whole| whole.min(since + wait));
            prop_assert_eq!((deadline.head, deadline.whole), (head, whole));
        }
    }

    #[test]
    fn to_1_to_5_only_a_stream_has_anything_to_do_with_completion(
        limit in 1u64..100_000, said in prop::option::of(0u64..100_000), is_whole in any::<bool>(), history in history(),
    ) {
        let start = Instant::now();
        let policy = if is_whole { RequestTimeout::Whole(MS(limit)) } else { RequestTimeout::UntilHead(MS(limit)) };
        let fields = said.map(|said| said.to_string());
        let told = told(&fields.iter().map(|said| ("x-deadline", said.as_str())).collect::<Vec<_>>()).unwrap();
        let (mut now, mut flowed) = (start, start);
        let mut deadline = Deadline::new(start, policy, &told);
        for (passed, is_last) in history {
            now += MS(passed);
            deadline = if is_last { deadline.completed(now) } else { deadline.while_flowing(now) };
            flowed = if is_last || is_whole { flowed } else { now };
            let head = said.map_or(flowed + MS(limit), |said| (start + MS(said)).min(flowed + MS(limit)));
            prop_assert_eq!(deadline.head, head);
        }
    }
}

proptest! {
    #[test]
    fn dl_1_what_is_written_reads_back_as_no_more_than_is_left(
        micros in prop_oneof![1u64..3000, 1u64..10_000_000, any::<u64>()], word in prop::sample::select(Vocabulary::ALL.to_vec()),
    ) {
        let left = Duration::from_micros(micros);
        let read = word.read(word.write(left).as_bytes()).unwrap();
        prop_assert!(read >= MS(1), "0 would mean expired");
        prop_assert!(read <= left.max(MS(1)));
        // The coarsest number written is 99 999 s, where milliseconds no longer fit into eight digits.
        let unit = if word == Vocabulary::Grpc { left / 99_999 } else { Duration::ZERO };
        prop_assert!(read + unit.max(MS(1)) > left || read >= Duration::from_hours(99_999_999));
    }

    #[test]
    fn no_bytes_upset_the_reader(value in prop::collection::vec(any::<u8>(), 0..24), digits in "[0-9]{0,24}") {
        for word in Vocabulary::ALL {
            let _ = word.read(&value);
            prop_assert_eq!(Vocabulary::Plain.read(digits.as_bytes()).is_ok(), (1..=19).contains(&digits.len()));
            let grpc = format!("{digits}m");
            prop_assert_eq!(Vocabulary::Grpc.read(grpc.as_bytes()).is_ok(), (1..=8).contains(&digits.len()));
        }
    }

    #[test]
    fn dl_2_the_earlier_of_policy_and_caller_holds(limit in 1u64..100_000, said in 0u64..100_000, whole in any::<bool>()) {
        let now = Instant::now();
        let policy = if whole { RequestTimeout::Whole(MS(limit)) } else { RequestTimeout::UntilHead(MS(limit)) };
        let deadline = Deadline::new(now, policy, &told(&[("x-deadline", &said.to_string())]).unwrap());
        prop_assert_eq!(deadline.head, now + MS(limit.min(said)));
        prop_assert_eq!(deadline.whole, Some(now + MS(if whole { limit.min(said) } else { said })));
    }
}

#[test]
fn dl_1_the_rest_goes_out_in_the_words_it_came_in() {
    let now = Instant::now();
    let later = now + MS(300);
    for (word, value, rest) in [
        (Vocabulary::Plain, "1000", "700"),
        (Vocabulary::Grpc, "1S", "700m"),
        (Vocabulary::Envoy, "1000", "700"),
    ] {
        let told = told(&[(word.header().as_str(), value)]).unwrap();
        let deadline = Deadline::new(now, RequestTimeout::Whole(MS(10_000)), &told);
        let left = deadline.to_pass_on(later).unwrap();
        let said: Vec<_> = told.words().map(|w| (w, w.write(left))).collect();
        assert!(said.contains(&(word, HeaderValue::from_static(rest))), "{said:?}");
        assert!(said.contains(&(Vocabulary::Plain, HeaderValue::from_static("700"))), "{said:?}");
        assert_eq!(said.len(), if word == Vocabulary::Plain { 1 } else { 2 });
    }
}

#[test]
fn dl_1_of_several_the_shortest_counts() {
    let both = told(&[("x-deadline", "900"), ("grpc-timeout", "1S"), ("x-deadline", "800")]).unwrap();
    assert_eq!(both.shortest(), Some(MS(800)));
    assert_eq!(both.words().count(), 2);
}

#[test]
fn dl_3_expired_on_arrival() {
    let now = Instant::now();
    for field in [("x-deadline", "0"), ("grpc-timeout", "0S"), ("x-envoy-expected-rq-timeout-ms", "0")] {
        let deadline = Deadline::new(now, RequestTimeout::UntilHead(MS(15_000)), &told(&[field]).unwrap());
        assert_eq!((deadline.left(now), deadline.to_pass_on(now)), (None, None));
    }
}

#[test]
fn to_1_the_built_in_limit_ends_with_the_head_and_is_not_passed_on() {
    let now = Instant::now();
    let silent = Deadline::new(now, RequestTimeout::UntilHead(MS(15_000)), &Told::default());
    assert_eq!((silent.left(now), silent.to_pass_on(now)), (Some(MS(15_000)), None));
    let written = Deadline::new(now, RequestTimeout::Whole(MS(2000)), &Told::default());
    assert_eq!(written.to_pass_on(now), Some(MS(2000)));
    let patient = told(&[("x-deadline", "60000")]).unwrap();
    let patient = Deadline::new(now, RequestTimeout::UntilHead(MS(15_000)), &patient);
    assert_eq!((patient.left(now), patient.to_pass_on(now)), (Some(MS(15_000)), Some(MS(60_000))));
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    for (name, value) in [
        ("x-deadline", ""),
        ("x-deadline", "-1"),
        ("x-deadline", "1.5"),
        ("x-deadline", "1500ms"),
        ("x-deadline", "2026-01-01T00:00:00Z"),
        ("grpc-timeout", "1000"),
        ("grpc-timeout", "S"),
        ("grpc-timeout", "123456789m"),
    ] {
        let error = told(&[(name, value)]).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
}

#[test]
fn a_time_that_no_clock_can_count_to_is_no_limit() {
    let forever = told(&[("x-deadline", "9999999999999999999")]).unwrap();
    let now = Instant::now();
    let deadline = Deadline::new(now, RequestTimeout::Whole(MS(5)), &forever);
    assert_eq!(deadline.head, now + MS(5));
    let _ = Deadline::new(now, RequestTimeout::UntilHead(MS(5)), &forever).to_pass_on(now);
}
