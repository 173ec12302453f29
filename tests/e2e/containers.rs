//! What a container may do, as docker-compose.yml says it.

/// The lines of one block of the file, without its comments.
fn block<'a>(file: &'a str, head: &str) -> Vec<&'a str> {
    let indent = head.len() - head.trim_start().len();
    let mut lines = file.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "there is no {head}");
    lines
        .take_while(|line| line.is_empty() || line.len() - line.trim_start().len() > indent)
        .map(|line| line.split(" #").next().unwrap_or_default().trim())
        .collect()
}

#[test]
fn no_service_of_ours_is_root_has_capabilities_or_writes_to_its_file_system() {
    let file = include_str!("../../docker-compose.yml");
    let hardened = block(file, "x-hardened:");
    for held in [
        "read_only: true",
        "cap_drop: [ALL]",
        "security_opt: [\"no-new-privileges:true\"]",
    ] {
        assert!(hardened.contains(&held), "{held}");
    }
    let ours = block(file, "x-optout:");
    assert!(ours.contains(&"<<: *hardened") && ours.contains(&"user: \"10001:10001\""));
    for service in ["ingress", "worker", "api"] {
        let lines = block(file, &format!("  {service}:"));
        assert!(lines.contains(&"<<: *optout"), "{service}");
        let loosens = |line: &&str| {
            let key = line.split(':').next().unwrap_or_default();
            [
                "user",
                "read_only",
                "cap_add",
                "cap_drop",
                "privileged",
                "security_opt",
            ]
            .contains(&key)
        };
        assert_eq!(lines.iter().find(|line| loosens(line)), None, "{service}");
    }
    for service in ["edge", "certificate"] {
        let lines = block(file, &format!("  {service}:"));
        assert!(lines.contains(&"<<: *hardened"), "{service}");
        assert!(lines.contains(&"user: \"10001:10001\""), "{service}");
    }
    for store in ["rabbitmq", "redis", "postgres"] {
        assert!(
            block(file, &format!("  {store}:")).contains(&"<<: *store"),
            "{store}"
        );
    }
    assert!(block(file, "x-store:").contains(&"cap_drop: [ALL]"));
}
