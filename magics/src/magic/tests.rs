use super::*;

fn error(line: &str) -> String {
    match parse(line, true) {
        Err(error) => error.to_string(),
        Ok(magic) => panic!("{line} is {magic:?}"),
    }
}

fn candidates(line: &str) -> Vec<String> {
    let completion = complete(line, line.chars().count()).unwrap();
    completion
        .candidates
        .into_iter()
        .map(|candidate| candidate.text)
        .collect()
}

#[test]
fn every_entry_of_the_table_is_whole() {
    for entry in magics() {
        let words = entry.words();
        assert!(entry.usage.starts_with(&words), "{words}");
        assert!(entry.help.ends_with('.'), "{words}");
        for option in entry.options().iter().filter(|option| *option != "--help") {
            assert!(entry.usage.contains(option), "{words}: {option}");
        }
        assert!(entry.example.starts_with(&words), "{words}");
        assert!(parse(entry.example, true).is_ok(), "{}", entry.example);
        assert!(list().contains(entry.usage), "{words}");
        match parse(&format!("{words} --help"), false) {
            Ok(Magic::Help(text)) => {
                assert!(text.contains(entry.usage), "{text}");
                assert!(text.contains(entry.example), "{text}");
            }
            other => panic!("{words} --help: {other:?}"),
        }
        assert!(error(&format!("{words} --wrong")).contains(entry.usage));
        assert!(
            inspect(entry.example, words.len())
                .unwrap()
                .contains(entry.usage)
        );
    }
}

#[test]
fn memtrack_means_track_above_code_and_overview_alone() {
    let track = |label: Option<&str>, wide| {
        Ok(Magic::Track(TrackOptions {
            label: label.map(String::from),
            wide,
            ..TrackOptions::default()
        }))
    };
    assert_eq!(parse("%memtrack", true), track(None, false));
    assert_eq!(parse("%%memtrack", true), track(None, false));
    assert_eq!(
        parse("%memtrack --wide --label 'two words' ", true),
        track(Some("two words"), true)
    );
    assert_eq!(parse("%memtrack --label=x", true), track(Some("x"), false));
    assert_eq!(parse("%memtrack", false), Ok(Magic::Overview));
    assert_eq!(parse("%%memtrack", false), Ok(Magic::Overview));
    let all = TrackOptions {
        timeline: true,
        label: Some("x".into()),
        wide: true,
        live: true,
        repeat: Some(3),
    };
    let line = "%memtrack --live --repeat 3 --label x --wide --timeline";
    assert_eq!(parse(line, true), Ok(Magic::Track(all)));
    for option in ["--label x", "--live", "--repeat 2", "--wide"] {
        let error = parse(&format!("%memtrack {option}"), false).unwrap_err();
        assert!(error.problem.contains("no code below this line"), "{error}");
    }
}

#[test]
fn subcommands_are_read() {
    let read = |line| parse(line, false).unwrap();
    assert_eq!(read("%memtrack on"), Magic::On { full: false });
    assert_eq!(read("%%memtrack on --full"), Magic::On { full: true });
    assert_eq!(read("%memtrack off"), Magic::Off);
    assert_eq!(parse("%memtrack off", true), Ok(Magic::Off));
    assert_eq!(read("%memtrack doctor"), Magic::Doctor);
    assert_eq!(read("%memtrack trim"), Magic::Trim);
    assert_eq!(read("%lsmagic"), Magic::List);
    assert_eq!(read("%memtrack plot"), Magic::Plot { cells: None });
    let cells = Some("3:7".parse().unwrap());
    assert_eq!(read("%memtrack plot 3:7"), Magic::Plot { cells });
    let options = TrackOptions {
        timeline: true,
        ..TrackOptions::default()
    };
    assert_eq!(
        parse("%memtrack --timeline", true),
        Ok(Magic::Track(options))
    );
    let all = Magic::Report {
        sort: SortKey::Peak,
        cells: None,
    };
    assert_eq!(read("%memtrack report"), all);
    let some = Magic::Report {
        sort: SortKey::Allocated,
        cells: Some("3:7".parse().unwrap()),
    };
    assert_eq!(read("%memtrack report --sort allocated --cells 3:7"), some);
    for line in [
        "%memtrack assert heap.kept > -1KiB and ram.peak<=80%",
        "%memtrack assert 'heap.kept > -1KiB and ram.peak<=80%'",
    ] {
        let budget = Budget::parse("heap.kept > -1KiB and ram.peak<=80%").unwrap();
        assert_eq!(read(line), Magic::Assert(budget), "{line}");
    }
}

#[test]
fn misspelt_words_get_the_nearest_right_one_and_the_usage() {
    for (line, suggestion, usage) in [
        ("%memtrak", "%memtrack", "%memtrack [--label TEXT]"),
        ("%%memtrak --wide", "%%memtrack", "%memtrack [--label TEXT]"),
        ("%lsmagics", "%lsmagic", "%lsmagic"),
        ("%Memtrack", "%memtrack", "%memtrack [--label TEXT]"),
        ("%memtrack reprot", "report", "%memtrack report [--sort"),
        ("%memtrack Off", "off", "%memtrack off"),
        (
            "%memtrack asert ram.peak < 1GiB",
            "assert",
            "%memtrack assert EXPRESSION",
        ),
        ("%memtrack --lable x", "--label", "%memtrack [--label TEXT]"),
        ("%memtrack on --ful", "--full", "%memtrack on [--full]"),
        (
            "%memtrack report --srot peak",
            "--sort",
            "%memtrack report [--sort",
        ),
        (
            "%memtrack report --sort peek",
            "peak",
            "%memtrack report [--sort",
        ),
        ("%uses candle", "%use", "%use candle|cudarc|workloads"),
        ("%use candel", "candle", "%use candle|cudarc|workloads"),
        ("%use cudarcs@0.19.10", "cudarc", "%use candle|"),
        ("%use candle --cdua", "--cuda", "%use candle|"),
    ] {
        let error = error(line);
        assert!(
            error.contains(&format!("did you mean `{suggestion}`?")),
            "{line}: {error}"
        );
        assert!(
            error.contains(&format!("usage: {usage}")),
            "{line}: {error}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_clearly() {
    for (line, problem) in [
        (
            "%timeit",
            "`%timeit` is not a magic of this kernel\nusage: %lsmagic lists",
        ),
        ("%", "`%` is not a magic"),
        ("%memtrack --label", "needs a value"),
        ("%memtrack --label 'x", "a quote in this line is not closed"),
        (
            "%memtrack --label load weights",
            "a label of several words needs quotes",
        ),
        (
            "%memtrack --wide --wide",
            "`--wide` stands here more than once",
        ),
        (
            "%memtrack --wide report",
            "`report` must be the first word after %memtrack",
        ),
        ("%memtrack --repeat", "`--repeat <N>` needs a value"),
        ("%memtrack --repeat 0", "`0` is not how often a cell can"),
        ("%memtrack --repeat 1", "write a number from 2 to 1000"),
        ("%memtrack --repeat 1001", "write a number from 2 to 1000"),
        ("%memtrack --repeat -3", "`-3` is not how often"),
        ("%memtrack --repeat often", "`often` is not how often"),
        ("%memtrack --live 5", "`5` is not a subcommand"),
        ("%memtrack on --live", "`--live` is not an option here"),
        ("%memtrack on now", "`now` is one word too many"),
        ("%memtrack off --full", "`--full` is not an option here"),
        (
            "%memtrack report --sort size",
            "`size` is not one of peak, kept, allocated",
        ),
        ("%memtrack report --cells 7:3", "write 3:7"),
        ("%memtrack plot 7:3", "write 3:7"),
        ("%memtrack plot x", "`x` is not a cell's number"),
        ("%memtrack plot 1 2", "`2` is one word too many"),
        ("%memtrack report --cells a", "`a` is not a cell's number"),
        ("%memtrack assert", "<EXPRESSION>... is missing"),
        (
            "%memtrack assert ram.peek < 1GiB",
            "did you mean `ram.peak`?",
        ),
        ("%lsmagic all", "`all` is one word too many"),
        ("%use", "<NAME[@VERSION]> is missing"),
        (
            "%use burn",
            "`burn` is not one of candle, cudarc, workloads",
        ),
        ("%use candle@0.11", "`0.11` is not an exact version"),
        ("%use candle@", "`` is not an exact version"),
        ("%use candle@0.11.x", "is not an exact version"),
        ("%use candle cudarc", "`cudarc` is one word too many"),
        ("%use candle --cpu --cuda", "exclude each other"),
        ("%use cudarc --cpu", "leave --cpu away"),
    ] {
        let error = error(line);
        assert!(error.contains(problem), "{line}: {error}");
        assert!(error.contains("\nusage: %"), "{line}: {error}");
    }
}

#[test]
fn completion_follows_the_table() {
    assert_eq!(candidates("%"), ["%memtrack", "%use", "%lsmagic"]);
    assert_eq!(candidates("%%"), ["%%memtrack"]);
    assert_eq!(candidates("%mem"), ["%memtrack"]);
    assert_eq!(candidates("%memtrack re"), ["report"]);
    assert_eq!(
        candidates("%memtrack "),
        [
            "on",
            "off",
            "report",
            "plot",
            "diff",
            "compare",
            "export",
            "assert",
            "doctor",
            "trim",
            "--label",
            "--wide",
            "--timeline",
            "--live",
            "--repeat",
            "--help"
        ]
    );
    assert_eq!(
        candidates("%memtrack --wide --"),
        ["--label", "--timeline", "--live", "--repeat", "--help"]
    );
    assert_eq!(candidates("%memtrack --t"), ["--timeline"]);
    assert_eq!(candidates("%memtrack pl"), ["plot"]);
    assert_eq!(candidates("%memtrack --li"), ["--live"]);
    assert_eq!(candidates("%memtrack --repeat "), Vec::<String>::new());
    assert_eq!(candidates("%memtrack on --l"), Vec::<String>::new());
    assert_eq!(
        candidates("%memtrack report --sort "),
        ["peak", "kept", "allocated", "vram"]
    );
    assert_eq!(candidates("%memtrack report --sort=k"), ["kept"]);
    assert_eq!(
        candidates("%memtrack report --sort kept --"),
        ["--cells", "--help"]
    );
    assert_eq!(
        candidates("%memtrack assert heap.a"),
        ["heap.after", "heap.allocated", "heap.allocations"]
    );
    assert_eq!(candidates("%memtrack --label "), Vec::<String>::new());
    assert_eq!(candidates("%unknown r"), Vec::<String>::new());
}

#[test]
fn completion_replaces_the_word_before_the_cursor() {
    let line = "%memtrack --label größe --w";
    let completion = complete(line, 27).unwrap();
    assert_eq!((completion.start_chars, completion.end_chars), (24, 27));
    assert_eq!(completion.candidates[0].text, "--wide");
    assert!(!completion.candidates[0].description.is_empty());
    assert_eq!(complete(line, 28), None);
    assert_eq!(complete("let x = 1;", 3), None);
}

#[test]
fn inspection_helps_on_the_word_under_the_cursor() {
    let line = "%memtrack report --sort kept";
    assert!(inspect(line, 3).unwrap().contains("Subcommands:"));
    assert!(
        inspect(line, 12)
            .unwrap()
            .contains("which tracked cell used most")
    );
    assert!(
        inspect(line, 19)
            .unwrap()
            .contains("--sort: By which number")
    );
    assert!(
        inspect(line, 28)
            .unwrap()
            .contains("kept: Process RAM left behind")
    );
    let assert = "%memtrack assert ram.peak < 2GiB";
    assert!(
        inspect(assert, 20)
            .unwrap()
            .contains("ram.peak: resident memory")
    );
    assert!(
        inspect(assert, 30)
            .unwrap()
            .contains("Usage: %memtrack assert")
    );
    assert_eq!(inspect("%nothing", 3), None);
    assert_eq!(inspect("let x", 3), None);
    assert_eq!(inspect("%lsmagic", 9), None);
}

#[test]
fn use_lines_are_read() {
    let request = |package, version: Option<&str>, device| {
        Ok(Magic::Use(UseRequest {
            package,
            version: version.map(String::from),
            device,
        }))
    };
    for has_code in [false, true] {
        assert_eq!(
            parse("%use candle", has_code),
            request(Package::Candle, None, Device::Auto)
        );
    }
    assert_eq!(
        parse("%use candle@0.11.1 --cpu", false),
        request(Package::Candle, Some("0.11.1"), Device::Cpu)
    );
    assert_eq!(
        parse("%use --cuda workloads", true),
        request(Package::Workloads, None, Device::Cuda)
    );
    assert_eq!(
        parse("%use cudarc@0.20.0-rc.1+cuda", false),
        request(Package::Cudarc, Some("0.20.0-rc.1+cuda"), Device::Auto)
    );
}

#[test]
fn use_is_completed() {
    assert_eq!(candidates("%u"), ["%use"]);
    assert_eq!(
        candidates("%use "),
        ["candle", "cudarc", "workloads", "--cpu", "--cuda", "--help"]
    );
    assert_eq!(candidates("%use c"), ["candle", "cudarc"]);
    assert_eq!(candidates("%use candle "), ["--cpu", "--cuda", "--help"]);
    assert_eq!(candidates("%use --cpu w"), ["workloads"]);
    assert!(
        inspect("%use candle ", 6)
            .unwrap()
            .contains("trains in the next")
    );
}
