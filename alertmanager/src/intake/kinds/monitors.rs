//! Foreign monitors and log pipelines: Zabbix, CloudWatch, Logstash.
//!
//! Sources: Zabbix's macro reference (the message is made by the script in our documents);
//! CloudWatch's reference of the alarm's notification; Logstash's `http` output.
//!
//! Invariant: a monitor that does not know says neither that something is wrong nor that it is over.

use serde_json::Value;

use super::super::event::{Event, Status, label_name};
use super::super::json::{first_text, items, text, time};
use super::unlike;

/// A problem and its recovery, by the macros of the documented script.
pub(super) fn zabbix(body: &Value) -> Result<Event, String> {
    let (id, name) = (text(body, "/event_id"), text(body, "/event_name"));
    if id.is_empty() || name.is_empty() {
        return Err(unlike("Zabbix", "`event_id` or `event_name`"));
    }
    let status = match text(body, "/event_value").as_str() {
        "1" => Status::Firing,
        "0" => Status::Resolved,
        _ => return Err(unlike("Zabbix", "`event_value`, 0 or 1,")),
    };
    let mut event = Event::new(status, &name)
        .label("host", text(body, "/host"))
        .label("severity", text(body, "/severity").to_lowercase())
        .text("summary", format!("{name} on {}", text(body, "/host")))
        .text("value", text(body, "/operational_data"))
        .text("trigger", text(body, "/trigger_description"));
    // The macro is JSON in a text; where there are no tags it is empty.
    let tags = text(body, "/tags");
    let tags: Value = if tags.is_empty() {
        body["tags"].clone()
    } else {
        serde_json::from_str(&tags).unwrap_or_default()
    };
    for tag in items(&tags, "") {
        let name = label_name(&text(tag, "/tag"));
        if !["alertname", "host", "severity"].contains(&name.as_str()) {
            event = event.label(&name, text(tag, "/value"));
        }
    }
    Ok(Event { key: id, url: text(body, "/url"), ..event })
}

/// An alarm, as it stands in the text of an SNS message.
pub(super) fn cloudwatch(body: &Value) -> Result<Event, String> {
    let (name, state) = (text(body, "/AlarmName"), text(body, "/NewStateValue"));
    if name.is_empty() || state.is_empty() {
        return Err(unlike("CloudWatch", "`AlarmName` or `NewStateValue`"));
    }
    let status = match state.as_str() {
        "ALARM" => Status::Firing,
        "OK" => Status::Resolved,
        // No data: whoever fired still does.
        _ => Status::Neither,
    };
    // `arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME`; the field `Region` is a name for people.
    let arn = text(body, "/AlarmArn");
    let region = arn.split(':').nth(3).unwrap_or_default().to_owned();
    let mut event = Event::new(status, &name)
        .label("account", text(body, "/AWSAccountId"))
        .label("region", if region.is_empty() { text(body, "/Region") } else { region.clone() })
        .label("namespace", text(body, "/Trigger/Namespace"))
        .label("metric", text(body, "/Trigger/MetricName"))
        .text("summary", text(body, "/AlarmDescription"))
        .text("reason", text(body, "/NewStateReason"));
    for dimension in items(body, "/Trigger/Dimensions") {
        let name = first_text(dimension, &["/name", "/Name"]);
        let name = format!("dimension_{}", label_name(&name));
        event = event.label(&name, first_text(dimension, &["/value", "/Value"]));
    }
    let changed_at = time(&text(body, "/StateChangeTime"));
    match status {
        Status::Firing => event.starts_at = changed_at,
        Status::Resolved => event.ends_at = changed_at,
        Status::Neither => {}
    }
    if !region.is_empty() && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        event.url = format!(
            "https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}#alarmsV2:"
        );
    }
    Ok(event)
}

/// An event of a pipeline: it fires until it has not come for a while.
pub(super) fn logstash(body: &Value) -> Result<Event, String> {
    if !body.is_object() {
        return Err(unlike("Logstash", "an event"));
    }
    let name = first_text(body, &["/alertname", "/event/action", "/event/code"]);
    let name = if name.is_empty() { "LogEvent".to_owned() } else { name };
    let status = match first_text(body, &["/status", "/event/outcome"]).to_lowercase().as_str() {
        "resolved" | "ok" | "success" => Status::Resolved,
        _ => Status::Firing,
    };
    let event = Event::new(status, &name)
        .label("host", first_text(body, &["/host/name", "/host/hostname", "/host", "/hostname"]))
        .label("service", first_text(body, &["/service/name", "/service", "/program"]))
        .label("severity", first_text(body, &["/log/level", "/level", "/severity"]).to_lowercase())
        .text("summary", first_text(body, &["/message", "/event/original"]))
        .text("file", first_text(body, &["/log/file/path", "/path"]));
    Ok(Event { starts_at: time(&text(body, "/@timestamp")), ..event })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Kind;
    use super::super::tests::check;

    #[test]
    fn zabbix_tells_of_problems_and_their_end() {
        let problem = |value: &str, severity: &str| {
            json!({
                "event_id": "4711", "event_value": value, "event_name": "Disk is full", "host": "db1",
                "severity": severity, "operational_data": "97 %", "trigger_description": "",
                "tags": "[{\"tag\":\"scope\",\"value\":\"capacity\"},{\"tag\":\"host\",\"value\":\"x\"}]",
                "url": "https://zabbix.example.org/tr_events.php?triggerid=1&eventid=4711",
            })
        };
        let told = |what: &str, severity: &str| {
            format!(
                "{what} {{alertname=\"Disk is full\", host=\"db1\", key=\"4711\", scope=\"capacity\", \
                 severity=\"{severity}\", source=\"s\"}} \
                 https://zabbix.example.org/tr_events.php?triggerid=1&eventid=4711 [0, 0] \
                 summary: Disk is full on db1; value: 97 %"
            )
        };
        let zabbix = |body, expected: &str| check(Kind::Zabbix, "", &body, &[expected]);
        zabbix(problem("1", "High"), &told("firing", "high"));
        zabbix(problem("0", "Average"), &told("resolved", "average"));
        zabbix(
            problem("{EVENT.VALUE}", "High"),
            "this is no message of Zabbix: `event_value`, 0 or 1, is missing",
        );
        zabbix(json!({}), "this is no message of Zabbix: `event_id` or `event_name` is missing");
    }

    #[test]
    fn cloudwatch_tells_of_alarms() {
        let alarm = |state: &str| {
            json!({
                "AlarmName": "queue too long", "AlarmDescription": "orders wait", "AWSAccountId": "123456789012",
                "NewStateValue": state, "OldStateValue": "OK", "NewStateReason": "Threshold Crossed: 1 datapoint",
                "StateChangeTime": "2023-11-14T22:13:20.000+0000", "Region": "EU (Ireland)",
                "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:queue too long",
                "Trigger": {"MetricName": "Visible", "Namespace": "AWS/SQS", "Statistic": "AVERAGE", "Period": 60,
                    "Dimensions": [{"name": "QueueName", "value": "orders"}], "Threshold": 10.0},
            })
        };
        let told = |what: &str, times: &str| {
            format!(
                "{what} {{account=\"123456789012\", alertname=\"queue too long\", dimension_QueueName=\"orders\", \
                 metric=\"Visible\", namespace=\"AWS/SQS\", region=\"eu-west-1\", source=\"s\"}} \
                 https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#alarmsV2: {times} \
                 reason: Threshold Crossed: 1 datapoint; summary: orders wait"
            )
        };
        let cloudwatch = |body, expected: &str| check(Kind::CloudwatchSns, "", &body, &[expected]);
        cloudwatch(alarm("ALARM"), &told("firing", "[1700000000, 0]"));
        cloudwatch(alarm("OK"), &told("resolved", "[0, 1700000000]"));
        cloudwatch(alarm("INSUFFICIENT_DATA"), "nothing");
        cloudwatch(
            json!({"hello": 1}),
            "this is no message of CloudWatch: `AlarmName` or `NewStateValue` is missing",
        );
    }

    #[test]
    fn logstash_tells_of_events_one_or_many() {
        let event = json!({
            "@timestamp": "2023-11-14T22:13:20.000Z", "@version": "1", "message": "out of memory",
            "host": {"name": "web1"}, "service": {"name": "shop"}, "log": {"level": "ERROR"}, "tags": ["oom"],
        });
        let told = "firing {alertname=\"LogEvent\", host=\"web1\", service=\"shop\", severity=\"error\", \
                    source=\"s\"}  [1700000000, 0] summary: out of memory";
        check(Kind::Logstash, "", &event, &[told]);
        let resolved = json!({"alertname": "Oom", "status": "resolved", "host": "web1"});
        let ended = "resolved {alertname=\"Oom\", host=\"web1\", source=\"s\"}  [0, 0] ";
        check(Kind::Logstash, "", &json!([event, resolved]), &[told, ended]);
        check(
            Kind::Logstash,
            "",
            &json!("text"),
            &["this is no message of Logstash: an event is missing"],
        );
        check(Kind::Logstash, "", &json!([]), &[]);
    }
}
