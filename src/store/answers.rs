//! What instances have answered, told by each server's router while a canary is watched: whoever watches it sees a part of the traffic,
//! or none.

use crate::codec::narrow;
use crate::connection::AnyConnection;
use crate::dialect::clock;
use crate::logs::signed;
use crate::schema::instance_answers;
use crate::tools::tool_id;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::ToolName;

/// Rows of a server that has not told anything for so long, in microseconds, are nobody's any more.
const FORGOTTEN: i64 = 3600 * 1_000_000;

/// What one instance has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceAnswers {
    /// Its name.
    pub instance: String,
    /// All answers.
    pub answers: u64,
    /// Errors among them.
    pub errors: u64,
}

impl Store {
    /// Tells what instances of a tool have answered by this server's router, in place of what it has told before.
    pub async fn tell_answers(
        &self,
        tool: &ToolName,
        server: &str,
        told: Vec<InstanceAnswers>,
    ) -> Result<(), StoreError> {
        let (tool, server) = (tool.clone(), server.to_owned());
        let work = move |writer: &mut AnyConnection| {
            let tool_id = tool_id(writer, &tool)?;
            let present = clock(writer)?;
            let of_tool = instance_answers::table.filter(instance_answers::tool_id.eq(tool_id));
            diesel::delete(of_tool.filter(instance_answers::server.eq(&server))).execute(writer)?;
            diesel::delete(of_tool.filter(instance_answers::told_at.lt(present - FORGOTTEN)))
                .execute(writer)?;
            for one in &told {
                let row = (
                    instance_answers::tool_id.eq(tool_id),
                    instance_answers::server.eq(&server),
                    instance_answers::instance.eq(&one.instance),
                    instance_answers::answers.eq(signed(one.answers)),
                    instance_answers::errors.eq(signed(one.errors)),
                    instance_answers::told_at.eq(present),
                );
                diesel::insert_into(instance_answers::table).values(row).execute(writer)?;
            }
            Ok(())
        };
        self.db.write("tell what instances answer", work).await
    }

    /// What the other servers have told of instances of a tool.
    pub async fn answers_elsewhere(
        &self,
        tool: &ToolName,
        server: &str,
    ) -> Result<Vec<InstanceAnswers>, StoreError> {
        let (tool, server) = (tool.clone(), server.to_owned());
        let work = move |reader: &mut AnyConnection| {
            let tool_id = tool_id(reader, &tool)?;
            let others = instance_answers::table
                .filter(instance_answers::tool_id.eq(tool_id))
                .filter(instance_answers::server.ne(&server))
                .select((instance_answers::instance, instance_answers::answers, instance_answers::errors));
            let rows = others.load::<(String, i64, i64)>(reader)?;
            let read = |(instance, answers, errors)| {
                let answers = narrow("instance_answers.answers", answers)?;
                Ok(InstanceAnswers { instance, answers, errors: narrow("instance_answers.errors", errors)? })
            };
            rows.into_iter().map(read).collect()
        };
        self.db.read("read what instances answer", work).await
    }
}
