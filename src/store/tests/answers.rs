//! What routers tell each other.

use super::*;
use crate::InstanceAnswers;

on_both!(each_server_reads_what_the_others_have_told_last);

async fn each_server_reads_what_the_others_have_told_last(bed: Bed) {
    let stores = [bed.open().await, bed.open().await];
    let weather = tool("weather");
    stores[0].create_tool(&weather, None).await.unwrap();
    let one =
        |instance: &str, answers, errors| InstanceAnswers { instance: instance.into(), answers, errors };
    let tell = async |server: usize, told| {
        stores[server].tell_answers(&weather, ["a", "b"][server], told).await.unwrap();
    };
    let read =
        async |server: usize| stores[server].answers_elsewhere(&weather, ["a", "b"][server]).await.unwrap();
    assert_eq!(read(1).await, []);
    tell(0, vec![one("weather.v2.web.x", 10, 1), one("weather.v1.web.y", 30, 0)]).await;
    tell(1, vec![one("weather.v2.web.x", 5, 5)]).await;
    assert_eq!(read(0).await, [one("weather.v2.web.x", 5, 5)]);
    tell(0, vec![one("weather.v2.web.x", 12, 1)]).await;
    assert_eq!(read(1).await, [one("weather.v2.web.x", 12, 1)]);
    tell(0, Vec::new()).await;
    assert_eq!(read(1).await, []);
    stores[0].delete_tool(&weather).await.unwrap();
    assert!(stores[1].answers_elsewhere(&weather, "a").await.is_err());
}
