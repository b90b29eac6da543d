//! `len`, `index` and `slice`, on texts, lists and maps.
//!
//! Invariant: a place outside of the value is an error, never a guess.

use super::super::error::Failure;
use super::super::value::Value;
use super::Outcome;

/// How many items, entries or bytes there are.
pub(super) fn length(value: &Value) -> Outcome {
    let length = match value {
        Value::Text(text) | Value::Safe(_, text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.len(),
        Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `index x 1 "a"`: the item `a` of the item 1 of `x`.
pub(super) fn index(args: &[Value]) -> Outcome {
    let [item, indexes @ ..] = args else { return Ok(Value::Nil) };
    if *item == Value::Nil {
        return Err("index of untyped nil".into());
    }
    let mut item = item.clone();
    for index in indexes {
        item = match &item {
            Value::List(list) => list.items[place(index, list.items.len(), false)?].clone(),
            Value::Text(text) | Value::Safe(_, text) => {
                let at = place(index, text.len(), false)?;
                Value::Int(i64::from(text.as_bytes()[at]))
            }
            Value::Map(map) => match index {
                Value::Nil => return Err("value is nil; should be of type string".into()),
                index => match index.as_text() {
                    Some(name) => map.get(name).unwrap_or_else(|| map.kind.zero()),
                    None => {
                        let found = index.type_name();
                        return Err(format!("value has type {found}; should be string").into());
                    }
                },
            },
            Value::Nil => return Err("index of nil pointer".into()),
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(item)
}

/// `slice x 1 2`: the part of `x` from item 1 to before item 2.
pub(super) fn slice(args: &[Value]) -> Outcome {
    let [item, bounds @ ..] = args else { return Ok(Value::Nil) };
    let length = match item {
        Value::Nil => return Err("slice of untyped nil".into()),
        Value::Text(_) | Value::Safe(..) if bounds.len() == 3 => {
            return Err("cannot 3-index slice a string".into());
        }
        Value::Text(text) | Value::Safe(_, text) => text.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()).into());
    }
    let mut places = [0, length, length];
    for (n, bound) in bounds.iter().enumerate() {
        places[n] = place(bound, length, true)?;
    }
    let [from, to, most] = places;
    for (low, high) in [(from, to), (to, most)] {
        if low > high {
            return Err(format!("invalid slice index: {low} > {high}").into());
        }
    }
    Ok(match item {
        Value::List(list) => Value::list_of(list.kind, list.items[from..to].to_vec()),
        // A cut within a character leaves a replacement for it.
        other => {
            let bytes = &other.as_text().unwrap_or("").as_bytes()[from..to];
            String::from_utf8_lossy(bytes).into_owned().into()
        }
    })
}

/// The place that `index` names, within `length`, or at its end where that may be.
fn place(index: &Value, length: usize, end: bool) -> Result<usize, Failure> {
    let number = match index {
        Value::Nil => return Err("cannot index slice/array with nil".into()),
        index => index
            .as_int()
            .ok_or_else(|| format!("cannot index slice/array with type {}", index.type_name()))?,
    };
    usize::try_from(number)
        .ok()
        .filter(|place| *place < length || (end && *place == length))
        .ok_or_else(|| format!("index out of range: {number}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(call: fn(&[Value]) -> Outcome, args: &[Value], expected: Result<Value, &str>) {
        let got = call(args).map_err(|failure| match failure {
            Failure::Message(message) => message,
            other => format!("{other:?}"),
        });
        assert_eq!(got, expected.map_err(str::to_owned), "{args:?}");
    }

    #[test]
    fn takes_items_by_place_and_name() {
        let list = Value::list(["a".into(), Value::map([("k", Value::from(7))])]);
        check(index, std::slice::from_ref(&list), Ok(list.clone()));
        check(index, &[list.clone(), 0.into()], Ok("a".into()));
        check(index, &[list.clone(), 1.into(), "k".into()], Ok(7.into()));
        check(index, &[list.clone(), 1.into(), "no".into()], Ok(Value::Nil));
        check(index, &["abc".into(), 1.into()], Ok(98.into()));
        check(index, &[list.clone(), 2.into()], Err("index out of range: 2"));
        check(index, &[list.clone(), (-1).into()], Err("index out of range: -1"));
        check(index, &[list.clone(), "a".into()], Err("cannot index slice/array with type string"));
        check(index, &[list, 1.into(), 1.into()], Err("value has type int; should be string"));
        check(index, &[1.into(), 1.into()], Err("can't index item of type int"));
        check(index, &[Value::Nil, 1.into()], Err("index of untyped nil"));
    }

    #[test]
    fn cuts_parts() {
        let list = Value::strings(["a", "b", "c"]);
        check(slice, std::slice::from_ref(&list), Ok(list.clone()));
        check(slice, &[list.clone(), 1.into()], Ok(Value::strings(["b", "c"])));
        check(slice, &[list.clone(), 1.into(), 2.into()], Ok(Value::strings(["b"])));
        check(slice, &["abc".into(), 1.into(), 3.into()], Ok("bc".into()));
        check(slice, &["é".into(), 1.into()], Ok("\u{fffd}".into()));
        check(slice, &[list.clone(), 2.into(), 1.into()], Err("invalid slice index: 2 > 1"));
        check(slice, &[list, 4.into()], Err("index out of range: 4"));
        check(
            slice,
            &["a".into(), 0.into(), 1.into(), 1.into()],
            Err("cannot 3-index slice a string"),
        );
        check(slice, &[true.into()], Err("can't slice item of type bool"));
    }

    #[test]
    fn counts() {
        check(|args| length(&args[0]), &["é".into()], Ok(2.into()));
        check(|args| length(&args[0]), &[Value::strings(["a"])], Ok(1.into()));
        check(|args| length(&args[0]), &[Value::Nil], Err("len of nil pointer"));
        check(|args| length(&args[0]), &[1.into()], Err("len of type int"));
    }
}
