//! Who may do what, as a table, and how the rows lead to it.

use super::*;
use hythe_store::Role;

const ACTIONS: [Action; 22] = [
    Action::ToolCreate,
    Action::ToolDelete,
    Action::ToolRead,
    Action::ToolSettings,
    Action::MembersManage,
    Action::Push,
    Action::Fetch,
    Action::Redeploy,
    Action::BuildCancel,
    Action::LogsRead,
    Action::ConfigRead,
    Action::ConfigWrite,
    Action::Restart,
    Action::Scale,
    Action::Rollback,
    Action::RunOnce,
    Action::KeysManage,
    Action::TokensManage,
    Action::AdminMaintainers,
    Action::AdminBackup,
    Action::RegistryPull,
    Action::RegistryPush,
];

fn letter(decision: &Decision) -> char {
    match decision {
        Decision::Allowed => 'y',
        Decision::Forbidden(_) => 'n',
        Decision::Absent(_) => '-',
    }
}

/// One letter a standing: admin, owner, member, stranger, deploy key, nobody; first of a tool, then of none.
#[test]
fn the_table_of_rights() {
    let weather = tool("weather");
    let standings = [
        Standing::Admin,
        Standing::Maintainer(Some(Role::Owner)),
        Standing::Maintainer(Some(Role::Member)),
        Standing::Maintainer(None),
        Standing::DeployKey,
        Standing::Nobody,
    ];
    let row = |action: Action| {
        let of = |tool: Option<&ToolName>| standings.map(|standing| letter(&decide(standing, action, tool)));
        let letters = |row: [char; 6]| row.iter().collect::<String>();
        format!("{action:?} {} {}", letters(of(Some(&weather))), letters(of(None)))
    };
    let table: Vec<String> = ACTIONS.into_iter().map(row).collect();
    let expected = [
        "ToolCreate yyy-n- yyyynn",
        "ToolDelete yyn-n- ynnnnn",
        "ToolRead yyy-n- ynnnnn",
        "ToolSettings yyy-n- ynnnnn",
        "MembersManage yyn-n- ynnnnn",
        "Push yyy-y- ynnnyn",
        "Fetch yyy-n- ynnnnn",
        "Redeploy yyy-n- ynnnnn",
        "BuildCancel yyy-n- ynnnnn",
        "LogsRead yyy-n- ynnnnn",
        "ConfigRead yyy-n- ynnnnn",
        "ConfigWrite yyy-n- ynnnnn",
        "Restart yyy-n- ynnnnn",
        "Scale yyy-n- ynnnnn",
        "Rollback yyy-n- ynnnnn",
        "RunOnce yyy-n- ynnnnn",
        "KeysManage yyy-n- yyyynn",
        "TokensManage yyy-n- yyyynn",
        "AdminMaintainers ynn-n- ynnnnn",
        "AdminBackup ynn-n- ynnnnn",
        "RegistryPull yyy-n- yyyynn",
        "RegistryPush yyy-n- ynnnnn",
    ];
    assert_eq!(table, expected);
    for action in ACTIONS {
        assert!(decide(Standing::Platform, action, None).is_allowed());
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_forbidden_from_absent() {
    let (_dir, store, auth) = fresh().await;
    for name in ["ann", "bob", "root"] {
        store.create_maintainer(&person(name), name == "root").await.unwrap();
    }
    store.create_tool(&tool("weather"), Some(&person("ann"))).await.unwrap();
    let decide = |name: &str, of: &str| {
        let (auth, actor, of) = (auth.clone(), actor(name), tool(of));
        async move { auth.allow(&actor, Action::LogsRead, Some(&of)).await.unwrap() }
    };
    assert!(decide("ann", "weather").await.is_allowed());
    assert!(decide("root", "weather").await.is_allowed());
    let hidden = decide("bob", "weather").await.check().unwrap_err();
    let missing = decide("bob", "nothing").await.check().unwrap_err();
    assert_eq!(hidden.to_string().replace("weather", "nothing"), missing.to_string());
    assert_eq!(letter(&decide("root", "nothing").await), '-', "what is not there is absent for everybody");
    assert_eq!(letter(&decide("gone", "weather").await), '-');
}

#[tokio::test]
async fn a_deploy_key_pushes_to_its_own_tool_alone() {
    let (_dir, store, auth) = fresh().await;
    for name in ["weather", "quotes"] {
        store.create_tool(&tool(name), None).await.unwrap();
    }
    let key = Actor::DeployKey(tool("weather"));
    let may = |action, of: &str| {
        let (auth, key, of) = (auth.clone(), key.clone(), tool(of));
        async move { letter(&auth.allow(&key, action, Some(&of)).await.unwrap()) }
    };
    assert_eq!(may(Action::Push, "weather").await, 'y');
    assert_eq!(may(Action::Push, "quotes").await, '-');
    assert_eq!(may(Action::Fetch, "weather").await, 'n');
    assert_eq!(may(Action::ConfigRead, "weather").await, 'n');
    assert_eq!(may(Action::ToolCreate, "another").await, 'n');
    assert_eq!(letter(&auth.allow(&key, Action::TokensManage, None).await.unwrap()), 'n');
}

#[tokio::test]
async fn a_tool_that_does_not_exist_yet_may_be_made() {
    let (_dir, store, auth) = fresh().await;
    store.create_maintainer(&person("ann"), false).await.unwrap();
    let decision = auth.allow(&actor("ann"), Action::ToolCreate, Some(&tool("new"))).await.unwrap();
    assert!(decision.is_allowed());
}
