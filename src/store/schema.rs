//! The tables, as the migrations leave them.

diesel::table! {
    schema_info (id) {
        id -> Integer,
        min_binary -> Integer,
    }
}

diesel::table! {
    maintainers (name) {
        name -> Text,
        admin -> Bool,
        created_at -> BigInt,
    }
}

diesel::table! {
    tools (id) {
        id -> BigInt,
        name -> Text,
        settings -> Text,
        next_release -> BigInt,
        next_config -> BigInt,
        deployed_ref -> Nullable<Text>,
        deployed_commit -> Nullable<Text>,
        last_turn_at -> BigInt,
        created_at -> BigInt,
    }
}

diesel::table! {
    members (tool_id, maintainer) {
        tool_id -> BigInt,
        maintainer -> Text,
        role -> Text,
    }
}

diesel::table! {
    ssh_keys (fingerprint) {
        fingerprint -> Text,
        maintainer -> Nullable<Text>,
        tool_id -> Nullable<BigInt>,
        algorithm -> Text,
        openssh -> Text,
        title -> Text,
        created_at -> BigInt,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    tokens (id) {
        id -> BigInt,
        maintainer -> Text,
        name -> Text,
        hash -> Binary,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        last_used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    builds (id) {
        id -> BigInt,
        tool_id -> BigInt,
        state -> Text,
        source -> Text,
        reference -> Text,
        old_commit -> Nullable<Text>,
        options -> Text,
        cause -> Text,
        actor -> Text,
        image -> Nullable<Text>,
        release_number -> Nullable<BigInt>,
        fault -> Nullable<Text>,
        superseded_by -> Nullable<BigInt>,
        created_at -> BigInt,
        started_at -> Nullable<BigInt>,
        ended_at -> Nullable<BigInt>,
        claimed_by -> Nullable<Text>,
        claimed_until -> Nullable<BigInt>,
        stop -> Nullable<Text>,
        attached_to -> Nullable<Text>,
    }
}

diesel::table! {
    releases (tool_id, number) {
        tool_id -> BigInt,
        number -> BigInt,
        image -> Text,
        commit_id -> Text,
        processes -> Text,
        config -> BigInt,
        formation -> Text,
        cause -> Text,
        message -> Nullable<Text>,
        actor -> Text,
        state -> Text,
        fault -> Nullable<Text>,
        build_id -> Nullable<BigInt>,
        created_at -> BigInt,
        settings -> Nullable<Text>,
        project -> Nullable<Text>,
    }
}

diesel::table! {
    config_versions (tool_id, number) {
        tool_id -> BigInt,
        number -> BigInt,
        actor -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    config_values (tool_id, version, key) {
        tool_id -> BigInt,
        version -> BigInt,
        key -> Text,
        sealed -> Binary,
        scope -> Text,
    }
}

diesel::table! {
    leases (name) {
        name -> Text,
        holder -> Nullable<Text>,
        fence -> BigInt,
        held_until -> BigInt,
    }
}

diesel::table! {
    repositories (tool_id) {
        tool_id -> BigInt,
        version -> BigInt,
        head -> Text,
    }
}

diesel::table! {
    repository_refs (tool_id, name) {
        tool_id -> BigInt,
        name -> Text,
        commit_id -> Text,
    }
}

diesel::table! {
    repository_packs (tool_id, name) {
        tool_id -> BigInt,
        name -> Text,
    }
}

diesel::table! {
    repository_cuts (tool_id, commit_id) {
        tool_id -> BigInt,
        commit_id -> Text,
    }
}

diesel::table! {
    logs (name) {
        name -> Text,
        last -> BigInt,
        bytes -> BigInt,
        ended -> Bool,
        closed -> Bool,
        tool_id -> Nullable<BigInt>,
        pieces -> BigInt,
        written_at -> BigInt,
    }
}

diesel::table! {
    log_pieces (log, first) {
        log -> Text,
        first -> BigInt,
        lines -> Text,
    }
}

diesel::table! {
    log_segments (log, first) {
        log -> Text,
        first -> BigInt,
        last -> BigInt,
        bytes -> BigInt,
    }
}

diesel::table! {
    log_sources (log, source) {
        log -> Text,
        source -> Text,
        read_to -> Text,
        position -> BigInt,
        told -> Nullable<Text>,
    }
}

diesel::table! {
    log_writers (writer) {
        writer -> Text,
        batch -> BigInt,
        written_at -> BigInt,
    }
}

diesel::table! {
    instance_answers (tool_id, server, instance) {
        tool_id -> BigInt,
        server -> Text,
        instance -> Text,
        answers -> BigInt,
        errors -> BigInt,
        told_at -> BigInt,
    }
}

diesel::joinable!(members -> tools (tool_id));
diesel::joinable!(ssh_keys -> tools (tool_id));
diesel::joinable!(builds -> tools (tool_id));
diesel::joinable!(releases -> tools (tool_id));
diesel::joinable!(config_values -> tools (tool_id));
diesel::joinable!(repositories -> tools (tool_id));
diesel::joinable!(logs -> tools (tool_id));
diesel::allow_tables_to_appear_in_same_query!(
    tools,
    members,
    ssh_keys,
    builds,
    releases,
    config_values,
    repositories,
    logs
);
