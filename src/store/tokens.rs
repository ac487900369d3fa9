//! API tokens: only their hashes.

use crate::codec::{micros, now, parse, time};
use crate::connection::AnyConnection;
use crate::db::{Failure, Outcome};
use crate::schema::{maintainers, tokens};
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::MaintainerName;
use jiff::Timestamp;

/// A token to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Whom it stands for.
    pub maintainer: MaintainerName,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it ends; never where `None`.
    pub expires_at: Option<Timestamp>,
}

/// A kept token, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its number, for `tokens revoke`.
    pub id: i64,
    /// Whom it stands for.
    pub maintainer: MaintainerName,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of the token's text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends; never where `None`.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = tokens)]
struct Row {
    id: i64,
    maintainer: String,
    name: String,
    hash: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Token, StoreError> {
        let length = |bytes: Vec<u8>| StoreError::Corrupt {
            column: "tokens.hash",
            reason: format!("{} bytes instead of 32", bytes.len()),
        };
        Ok(Token {
            id: self.id,
            maintainer: parse("tokens.maintainer", &self.maintainer)?,
            name: self.name,
            hash: self.hash.try_into().map_err(length)?,
            created_at: time("tokens.created_at", self.created_at)?,
            expires_at: self.expires_at.map(|at| time("tokens.expires_at", at)).transpose()?,
            last_used_at: self.last_used_at.map(|at| time("tokens.last_used_at", at)).transpose()?,
        })
    }
}

fn by_hash(connection: &mut AnyConnection, hash: &[u8; 32]) -> Outcome<Option<Token>> {
    let row = tokens::table.filter(tokens::hash.eq(hash.as_slice())).select(Row::as_select());
    Ok(row.first(connection).optional()?.map(Row::read).transpose()?)
}

impl Store {
    /// Keeps a token.
    pub async fn create_token(&self, token: NewToken) -> Result<Token, StoreError> {
        let work = move |writer: &mut AnyConnection| {
            let owner = token.maintainer.as_str();
            if maintainers::table.find(owner).count().get_result::<i64>(writer)? == 0 {
                return Err(StoreError::Absent { what: format!("maintainer {owner}") }.into());
            }
            let row = (
                tokens::maintainer.eq(owner),
                tokens::name.eq(&token.name),
                tokens::hash.eq(token.hash.as_slice()),
                tokens::created_at.eq(now()),
                tokens::expires_at.eq(token.expires_at.map(micros)),
            );
            let what = || format!("token {}", token.name);
            let done = diesel::insert_into(tokens::table).values(row).execute(writer);
            done.map_err(|error| Failure::exists(error, what))?;
            by_hash(writer, &token.hash)?.ok_or_else(|| StoreError::Absent { what: what() }.into())
        };
        self.db.write("keep a token", work).await
    }

    /// A maintainer's tokens, oldest first, expired ones included.
    pub async fn tokens(&self, maintainer: &MaintainerName) -> Result<Vec<Token>, StoreError> {
        let maintainer = maintainer.to_string();
        let work = move |reader: &mut AnyConnection| {
            let mine = tokens::table.filter(tokens::maintainer.eq(&maintainer));
            let rows = mine.order(tokens::id).select(Row::as_select()).load(reader)?;
            Ok(rows.into_iter().map(Row::read).collect::<Result<_, _>>()?)
        };
        self.db.read("list tokens", work).await
    }

    /// Removes one of a maintainer's tokens.
    pub async fn revoke_token(&self, maintainer: &MaintainerName, id: i64) -> Result<(), StoreError> {
        let maintainer = maintainer.to_string();
        let work = move |writer: &mut AnyConnection| {
            let row = tokens::table.find(id).filter(tokens::maintainer.eq(&maintainer));
            if diesel::delete(row).execute(writer)? == 0 {
                return Err(StoreError::Absent { what: format!("token {id}") }.into());
            }
            Ok(())
        };
        self.db.write("revoke a token", work).await
    }

    /// The unexpired token with this hash.
    pub async fn token(&self, hash: &[u8; 32]) -> Result<Option<Token>, StoreError> {
        let hash = *hash;
        let found = self.db.read("find a token", move |reader| by_hash(reader, &hash)).await?;
        let present = Timestamp::now();
        Ok(found.filter(|token| token.expires_at.is_none_or(|end| end > present)))
    }

    /// Notes that a token was used. Call it where the last use is over a minute old; see [`Token::last_used_at`].
    pub async fn touch_token(&self, id: i64) -> Result<(), StoreError> {
        let work = move |writer: &mut AnyConnection| {
            let row = tokens::table.find(id);
            diesel::update(row).set(tokens::last_used_at.eq(now())).execute(writer)?;
            Ok(())
        };
        self.db.write("note the use of a token", work).await
    }
}
