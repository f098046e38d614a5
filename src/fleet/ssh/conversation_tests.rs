//! Bounds of what is listened to, in time and length.

use super::*;

const LIMITS: Limits = Limits { first: Duration::from_mins(1), whole: Some(Duration::from_mins(2)), silence: None };

fn take(line: &str) -> Took {
    match line {
        "end" => Took::Enough,
        line if line.starts_with('{') => Took::Word,
        _ => Took::Noise,
    }
}

#[tokio::test]
async fn what_comes_before_the_first_word_is_bounded_and_so_is_a_line() {
    let (noise, long) = ("x".repeat(999) + "\n", "x".repeat(NOISE_LIMIT + 1));
    let rows = [
        ("hi\n{1\nend\n".to_owned(), "Ok(true)"),
        ("{1\nen".to_owned(), "Ok(false)"),
        (noise.repeat(65) + "end\n", "Ok(true)"),
        (noise.repeat(66) + "end\n", "before its first word"),
        ("\n".repeat(NOISE_LIMIT + 1), "before its first word"),
        (long.clone(), "longer than 64 KiB"),
        (format!("{{1\n{}end\n", noise.repeat(66)), "Ok(true)"),
        (format!("{{1\n{{{long}\nend\n"), "Ok(true)"),
        (format!("{{1\n{{{}", "x".repeat(LINE_LIMIT)), "longer than 1024 KiB"),
    ];
    for (said, expected) in rows {
        let mut lines = Lines::new(said.as_bytes(), tokio::io::empty());
        let came = format!("{:?}", listen(&mut lines, LIMITS, &mut take).await);
        assert!(came.contains(expected), "{}: {came}", said.get(..20).unwrap_or(&said));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_that_counts_is_not_waited_for() {
    let endless = Limits { whole: None, ..LIMITS };
    let spent = Limits { whole: Some(Duration::from_secs(5)), ..LIMITS };
    let pass = Limits { whole: None, silence: Some(Duration::from_secs(45)), ..LIMITS };
    // What is said each second: when it is given up, why, and whether another try makes sense.
    let rows = [
        (LIMITS, "", 60, "nothing was said within 60 s", Again::Later),
        (LIMITS, "hi\n", 60, "nothing was said within 60 s", Again::Later),
        (endless, "hi\n", 60, "nothing was said within 60 s", Again::Later),
        (LIMITS, "{1\n", 120, "not done within 120 s", Again::Never),
        (spent, "", 5, "not done within 5 s", Again::Never),
        (pass, "", 60, "nothing was said within 60 s", Again::Later),
    ];
    for (limits, said, seconds, expected, again) in rows {
        let (mut far, near) = tokio::io::duplex(1024);
        let talk = async {
            loop {
                far.write_all(said.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let began = Instant::now();
        let (mut lines, mut hear) = (Lines::new(near, tokio::io::empty()), take);
        let came: Result<bool, Trouble> = tokio::select! {
            came = listen(&mut lines, limits, &mut hear) => came,
            () = talk => Ok(false),
        };
        let trouble = came.unwrap_err();
        assert_eq!((began.elapsed().as_secs(), trouble.again), (seconds, again), "{said:?}: {trouble:?}");
        assert!(trouble.message.contains(expected), "{said:?}: {trouble:?}");
    }
}

/// Bytes by when they come, in seconds, and when the silence after them is too long.
#[tokio::test(start_paused = true)]
async fn who_makes_a_pass_may_take_any_time_and_be_silent_for_some_of_it() {
    type Row<'a> = (&'a [(u64, &'a str)], u64, &'a str);
    let limits = Limits { whole: None, silence: Some(Duration::from_secs(45)), ..LIMITS };
    let rows: [Row<'_>; 5] = [
        (&[(0, "{1\n")], 45, "nothing was heard for 45 s"),
        (&[(50, "{1\n")], 95, "nothing was heard for 45 s"),
        (&[(0, "{1\n"), (44, "{2\n"), (88, "{3\n")], 133, "nothing was heard for 45 s"),
        // A line that comes slowly is no silence.
        (&[(0, "{1\n{"), (40, "x"), (80, "x"), (120, "x"), (160, "\n"), (200, "end\n")], 200, "Ok(true)"),
        (&[(0, "{1\n"), (3_600, "end\n")], 45, "nothing was heard for 45 s"),
    ];
    for (said, seconds, expected) in rows {
        let (mut far, near) = tokio::io::duplex(1024);
        let began = Instant::now();
        let talk = async {
            for (at, bytes) in said {
                tokio::time::sleep_until(began + Duration::from_secs(*at)).await;
                far.write_all(bytes.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let (mut lines, mut hear) = (Lines::new(near, tokio::io::empty()), take);
        let came: Result<bool, Trouble> = tokio::select! {
            came = listen(&mut lines, limits, &mut hear) => came,
            () = talk => Ok(false),
        };
        let came = format!("{came:?}");
        assert!(began.elapsed().as_secs() == seconds && came.contains(expected), "{said:?}: {came} {began:?}");
    }
}
