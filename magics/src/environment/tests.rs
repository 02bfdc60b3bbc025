use super::*;

#[test]
fn the_id_is_the_same_in_two_runs() {
    let extra = || Map::from_iter([("rustc".to_owned(), json!("1.95.0"))]);
    let first = Environment::detect(extra());
    // Not a fact: what is in use.
    let block = std::hint::black_box(vec![1u8; 64 << 20]);
    let second = Environment::detect(extra());
    drop(block);
    assert_eq!(first, second);
    assert_eq!(first.facts["rustc"], "1.95.0");
    assert_eq!(first.id.len(), 12);
    assert!(first.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn the_id_depends_on_each_fact_but_not_on_their_order() {
    let parse = |text| Environment::from_facts(serde_json::from_str(text).unwrap()).id;
    let id = parse(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#);
    assert_eq!(id, parse(r#"{"b": {"d": 3, "c": 2}, "a": 1}"#));
    assert_ne!(id, parse(r#"{"a": 1, "b": {"c": 2, "d": 4}}"#));
}

#[test]
fn the_id_is_a_known_hash() {
    // printf '{"a":1}' | sha256sum
    assert_eq!(Environment::from_facts(json!({"a": 1})).id, "015abd7f5cc5");
}

#[test]
fn this_machine_s_facts_are_there() {
    let facts = Environment::detect(Map::new()).facts;
    for fact in [
        "kernel",
        "arch",
        "cpus",
        "ram_bytes",
        "page_size_bytes",
        "container",
    ] {
        assert!(!facts[fact].is_null(), "{fact}");
    }
    assert!(facts["ram_bytes"].as_u64().unwrap() > 64 << 20);
}

#[test]
fn facts_are_shown_with_units_and_unknown_ones_left_out() {
    let environment = Environment::from_facts(json!({
        "ram_bytes": 2147483648u64, "glibc": null, "malloc_settings": {},
        "high_water_reset": true, "features": ["a", "b"],
    }));
    assert_eq!(
        environment.lines(),
        [
            ("features", "a, b"),
            ("high water reset", "yes"),
            ("ram", "2.00 GiB")
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[test]
fn only_the_first_record_carries_the_facts() {
    let environment = Environment::from_facts(json!({"a": 1}));
    assert_eq!(environment.reference(true).facts, Some(json!({"a": 1})));
    assert_eq!(environment.reference(false).facts, None);
    assert_eq!(environment.reference(false).id, environment.id);
}

#[test]
fn the_system_s_name_may_be_quoted() {
    assert_eq!(
        os_name("ID=x\nPRETTY_NAME=\"A B 1\"\n").as_deref(),
        Some("A B 1")
    );
    assert_eq!(os_name("PRETTY_NAME=Arch\n").as_deref(), Some("Arch"));
    assert_eq!(os_name("PRETTY_NAME=\"\"\n"), None);
    assert_eq!(os_name("NAME=x\n"), None);
}

#[test]
fn settings_are_read_from_their_files() {
    assert_eq!(chosen("always [madvise] never"), Some("madvise"));
    assert_eq!(chosen("always madvise"), None);
    assert_eq!(chosen("[]"), None);
    assert_eq!(overcommit("1\n"), Some("1 (always)"));
    assert_eq!(overcommit("7"), None);
    let variables = [
        ("MALLOC_ARENA_MAX", "2"),
        ("HOME", "/root"),
        ("GLIBC_TUNABLES", "x=1"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = malloc_settings(variables.into_iter());
    assert_eq!(
        settings.keys().collect::<Vec<_>>(),
        ["GLIBC_TUNABLES", "MALLOC_ARENA_MAX"]
    );
}

#[test]
fn runtimes_are_guessed_from_their_signs() {
    let none = Signs::default;
    assert_eq!(none().runtime(), "none seen");
    assert_eq!(
        Signs {
            dockerenv: true,
            ..none()
        }
        .runtime(),
        "docker"
    );
    assert_eq!(
        Signs {
            containerenv: true,
            ..none()
        }
        .runtime(),
        "podman"
    );
    let pod = Signs {
        init_cgroup: "0::/kubepods/besteffort/pod1".into(),
        ..none()
    };
    assert_eq!(pod.runtime(), "kubernetes");
    let log = Some("[    0.000000] Starting gVisor...".to_owned());
    let gvisor = Signs {
        dockerenv: true,
        kernel_log: log,
        ..none()
    };
    assert_eq!(gvisor.runtime(), "gVisor");
}

#[test]
fn hypervisors_are_seen_by_flag_or_by_name() {
    let virtual_x86 = "processor\t: 0\nflags\t\t: fpu hypervisor avx2\n";
    let bare_x86 = "processor\t: 0\nflags\t\t: fpu avx2\n";
    let arm = "processor\t: 0\nFeatures\t: fp asimd\n";
    let google = (Some("Google"), Some("Google Compute Engine"));
    let dell = (Some("Dell Inc."), Some("PowerEdge"));
    let see = |cpuinfo, (vendor, product)| hypervisor(cpuinfo, vendor, product);
    assert_eq!(see(virtual_x86, google), "Google Google Compute Engine");
    assert_eq!(see(virtual_x86, (None, None)), "one without a name");
    assert_eq!(see(bare_x86, dell), "none seen");
    assert_eq!(see(arm, google), "Google Google Compute Engine");
    assert_eq!(see(arm, dell), "none seen");
    assert_eq!(see("", (None, None)), "none seen");
}
