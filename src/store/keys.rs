//! SSH public keys: per maintainer, and deploy keys per tool.

use crate::codec::{now, parse, time};
use crate::connection::AnyConnection;
use crate::db::{Failure, Outcome};
use crate::schema::{ssh_keys, tools};
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::{MaintainerName, ToolName};
use jiff::Timestamp;

/// Whom a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOwner {
    /// A maintainer.
    Maintainer(MaintainerName),
    /// One tool, to which the key may push.
    Deploy(ToolName),
}

/// A key to add; checked by the auth room beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Whom it stands for.
    pub owner: KeyOwner,
    /// `SHA256:` and the base64 digest, as OpenSSH shows it. A key stands for one owner on the whole platform.
    pub fingerprint: String,
    /// Its algorithm, as in `ssh-ed25519`.
    pub algorithm: String,
    /// The key in OpenSSH's one-line form, without comment.
    pub openssh: String,
    /// What its owner calls it.
    pub title: String,
}

/// A stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whom it stands for.
    pub owner: KeyOwner,
    /// Its fingerprint.
    pub fingerprint: String,
    /// Its algorithm.
    pub algorithm: String,
    /// The key in OpenSSH's one-line form, without comment.
    pub openssh: String,
    /// What its owner calls it.
    pub title: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = ssh_keys)]
struct Row {
    fingerprint: String,
    maintainer: Option<String>,
    algorithm: String,
    openssh: String,
    title: String,
    created_at: i64,
    last_used_at: Option<i64>,
}

impl Row {
    fn read(self, tool: Option<String>) -> Result<Key, StoreError> {
        let owner = match (self.maintainer, tool) {
            (Some(name), _) => KeyOwner::Maintainer(parse("ssh_keys.maintainer", &name)?),
            (None, name) => KeyOwner::Deploy(parse("ssh_keys.tool_id", &name.unwrap_or_default())?),
        };
        Ok(Key {
            owner,
            fingerprint: self.fingerprint,
            algorithm: self.algorithm,
            openssh: self.openssh,
            title: self.title,
            created_at: time("ssh_keys.created_at", self.created_at)?,
            last_used_at: self.last_used_at.map(|at| time("ssh_keys.last_used_at", at)).transpose()?,
        })
    }
}

/// The owner as its two columns.
fn columns(connection: &mut AnyConnection, owner: &KeyOwner) -> Outcome<(Option<String>, Option<i64>)> {
    match owner {
        KeyOwner::Maintainer(name) => {
            let known = crate::schema::maintainers::table.find(name.as_str()).count();
            if known.get_result::<i64>(connection)? == 0 {
                return Err(StoreError::Absent { what: format!("maintainer {name}") }.into());
            }
            Ok((Some(name.to_string()), None))
        }
        KeyOwner::Deploy(tool) => Ok((None, Some(tool_id(connection, tool)?))),
    }
}

/// The keys of one owner: one of its two columns is set, in the row as here.
#[diesel::dsl::auto_type(no_type_alias)]
fn owned_by(maintainer: Option<String>, tool: Option<i64>) -> _ {
    let by_maintainer = ssh_keys::maintainer.eq::<Option<String>>(maintainer);
    let by_tool = ssh_keys::tool_id.eq::<Option<i64>>(tool);
    by_maintainer.or(by_tool)
}

fn one(connection: &mut AnyConnection, fingerprint: &str) -> Outcome<Option<Key>> {
    let query = ssh_keys::table.left_join(tools::table).filter(ssh_keys::fingerprint.eq(fingerprint));
    let row = query.select((Row::as_select(), tools::name.nullable())).first(connection).optional()?;
    Ok(row.map(|(row, tool): (Row, Option<String>)| row.read(tool)).transpose()?)
}

impl Store {
    /// Adds a key.
    pub async fn add_key(&self, key: NewKey) -> Result<Key, StoreError> {
        let work = move |writer: &mut AnyConnection| {
            let (maintainer, tool) = columns(writer, &key.owner)?;
            let row = (
                ssh_keys::fingerprint.eq(&key.fingerprint),
                ssh_keys::maintainer.eq(maintainer),
                ssh_keys::tool_id.eq(tool),
                ssh_keys::algorithm.eq(&key.algorithm),
                ssh_keys::openssh.eq(&key.openssh),
                ssh_keys::title.eq(&key.title),
                ssh_keys::created_at.eq(now()),
            );
            let what = || format!("key {}", key.fingerprint);
            let done = diesel::insert_into(ssh_keys::table).values(row).execute(writer);
            done.map_err(|error| Failure::exists(error, what))?;
            one(writer, &key.fingerprint)?.ok_or_else(|| StoreError::Absent { what: what() }.into())
        };
        self.db.write("add a key", work).await
    }

    /// An owner's keys, oldest first.
    pub async fn keys(&self, owner: &KeyOwner) -> Result<Vec<Key>, StoreError> {
        let owner = owner.clone();
        let work = move |reader: &mut AnyConnection| {
            let (maintainer, tool) = columns(reader, &owner)?;
            let mine = owned_by(maintainer, tool);
            let query = ssh_keys::table
                .left_join(tools::table)
                .filter(mine)
                .order((ssh_keys::created_at, ssh_keys::fingerprint));
            let rows: Vec<(Row, Option<String>)> =
                query.select((Row::as_select(), tools::name.nullable())).load(reader)?;
            Ok(rows.into_iter().map(|(row, tool)| row.read(tool)).collect::<Result<_, _>>()?)
        };
        self.db.read("list keys", work).await
    }

    /// Removes one of an owner's keys.
    pub async fn remove_key(&self, owner: &KeyOwner, fingerprint: &str) -> Result<(), StoreError> {
        let (owner, fingerprint) = (owner.clone(), fingerprint.to_owned());
        let work = move |writer: &mut AnyConnection| {
            let (maintainer, tool) = columns(writer, &owner)?;
            let mine = owned_by(maintainer, tool);
            let row = ssh_keys::table.find(&fingerprint).filter(mine);
            if diesel::delete(row).execute(writer)? == 0 {
                return Err(StoreError::Absent { what: format!("key {fingerprint}") }.into());
            }
            Ok(())
        };
        self.db.write("remove a key", work).await
    }

    /// The key with this fingerprint.
    pub async fn key(&self, fingerprint: &str) -> Result<Option<Key>, StoreError> {
        let fingerprint = fingerprint.to_owned();
        self.db.read("find a key", move |reader| one(reader, &fingerprint)).await
    }

    /// Notes that a key was used. Call it where the last use is over a minute old; see [`Key::last_used_at`].
    pub async fn touch_key(&self, fingerprint: &str) -> Result<(), StoreError> {
        let fingerprint = fingerprint.to_owned();
        let work = move |writer: &mut AnyConnection| {
            let row = ssh_keys::table.find(&fingerprint);
            diesel::update(row).set(ssh_keys::last_used_at.eq(now())).execute(writer)?;
            Ok(())
        };
        self.db.write("note the use of a key", work).await
    }
}
