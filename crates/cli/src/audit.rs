//! `calotype audit`.

use std::{collections::BTreeSet, fs, path::Path};

use calotype_image::{Limits, read_limited};
use calotype_safety::audit::{Query, Report, search, verify};
use serde_json::{Value, json};

use crate::{
    args::{Audit, AuditExport, AuditSearch, AuditVerify},
    failure::Failure,
    stdout,
};

pub(crate) fn run(command: &Audit) -> Result<(), Failure> {
    match command {
        Audit::Verify(args) => verify_log(args),
        Audit::Search(args) => search_log(args),
        Audit::Export(args) => export(args),
    }
}

fn verify_log(args: &AuditVerify) -> Result<(), Failure> {
    let report = verify(&args.file, args.anchor.as_deref())?;
    if args.json {
        let faults: Vec<Value> =
            report.faults.iter().map(|fault| json!({ "line": fault.line, "fault": fault.to_string() })).collect();
        let head = json!({ "seq": report.head.seq, "hash": report.head.hash });
        stdout::print(&json!({ "lines": report.lines, "head": head, "faults": faults }).to_string())?;
    } else {
        let mut lines = vec![format!("{}: {} lines, head {}", args.file.display(), report.lines, report.head.hash)];
        lines.extend(report.faults.iter().map(ToString::to_string));
        stdout::print(&lines.join("\n"))?;
    }
    whole(&args.file, &report)
}

fn whole(log: &Path, report: &Report) -> Result<(), Failure> {
    match report.faults.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Failed(format!("{}: not whole: {first}", log.display()))),
    }
}

fn search_log(args: &AuditSearch) -> Result<(), Failure> {
    let query = match (args.watermark, &args.picture) {
        (Some(id), _) => Query::Watermark(id),
        (None, Some(file)) => {
            let bytes = read_limited(file, &Limits::default()).map_err(|error| Failure::Failed(error.to_string()))?;
            Query::image(&bytes)
        }
        (None, None) => return Err(Failure::usage("give an id by --watermark or an image by --picture")),
    };
    let found = search(&args.file, &query)?;
    if found.is_empty() {
        return Err(Failure::Failed(format!("{}: no line is of it", args.file.display())));
    }
    stdout::print(&found.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"))
}

fn export(args: &AuditExport) -> Result<(), Failure> {
    whole(&args.file, &verify(&args.file, args.anchor.as_deref())?)?;
    let read =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: cannot be read: {error}", args.file.display()));
    let text = fs::read_to_string(&args.file).map_err(|error| read(&error))?;
    let lines: Vec<Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|error| read(&error))?;
    if !args.csv {
        return stdout::print(&Value::from(lines).to_string());
    }
    let members = lines.iter().filter_map(Value::as_object).flat_map(|line| line.keys());
    let columns: Vec<&String> = members.collect::<BTreeSet<_>>().into_iter().collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&columns).map_err(|error| read(&error))?;
    for line in &lines {
        let cell = |column: &&String| match &line[column.as_str()] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writer.write_record(columns.iter().map(cell)).map_err(|error| read(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| read(&error))?;
    stdout::print(String::from_utf8_lossy(&bytes).trim_end())
}
