//! Functions that move bytes: those that a filter accepts, summed up over pods and containers.

use hashbrown::HashMap;

use crate::{
    filter::Filter,
    snapshot::{Function, Functions},
};

/// Returns the functions that a filter accepts, in descending order of bytes. Functions with equal name, file and process
/// name are added up over pods and containers; the sum names neither pod nor container.
#[must_use]
pub fn sums(functions: &Functions, filter: &Filter) -> Vec<Function> {
    type Code<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    let mut places: HashMap<Code<'_>, usize> = HashMap::new();
    let mut sums: Vec<Function> = Vec::new();
    for function in functions.functions.iter().filter(|function| filter.takes_function(function)) {
        let code = (function.name.as_str(), function.module.as_deref(), function.command.as_deref());
        let place = *places.entry(code).or_insert_with(|| {
            sums.push(Function {
                name: function.name.clone(),
                module: function.module.clone(),
                command: function.command.clone(),
                ..Function::default()
            });
            sums.len() - 1
        });
        let sum = &mut sums[place];
        sum.rx_bytes = sum.rx_bytes.saturating_add(function.rx_bytes);
        sum.tx_bytes = sum.tx_bytes.saturating_add(function.tx_bytes);
    }
    sums.sort_by_key(|function| std::cmp::Reverse(function.bytes()));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(pod: &str, name: &str, tx_bytes: u64) -> Function {
        Function {
            name: name.to_owned(),
            command: Some("nginx".to_owned()),
            namespace: Some("shop".to_owned()),
            pod: (!pod.is_empty()).then(|| pod.to_owned()),
            tx_bytes,
            ..Function::default()
        }
    }

    #[test]
    fn a_function_is_one_over_the_pods_that_the_filter_takes() {
        let functions = Functions {
            functions: vec![
                function("web-1", "write", 700),
                function("web-2", "write", 50),
                function("web-2", "send", 90),
                function("", "send", 20),
            ],
            ..Functions::default()
        };
        let of = |filter: &str| {
            let sums = sums(&functions, &Filter::parse(filter).unwrap());
            sums.into_iter().map(|sum| (sum.name, sum.pod, sum.tx_bytes)).collect::<Vec<_>>()
        };
        let named = |names: &[(&str, u64)]| {
            names.iter().map(|(name, bytes)| ((*name).to_owned(), None, *bytes)).collect::<Vec<_>>()
        };
        assert_eq!(of(""), named(&[("write", 750), ("send", 110)]));
        assert_eq!(of("pod:=web-2"), named(&[("send", 90), ("write", 50)]));
        assert_eq!(of("pod:=web-1 process:nginx"), named(&[("write", 700)]));
        assert_eq!(of("pod:=web-3"), named(&[]));
    }
}
