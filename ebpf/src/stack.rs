//! The stack usage of the kernel programs. The verifier adds up the frames of a call chain, each rounded up to 32 bytes
//! before Linux 6.13, and rejects more than 512 bytes. This test finds such a chain without a kernel that rounds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{HTTP_OBJECT, STACKS_OBJECT, TLS_OBJECT, Variant};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

const LIMIT: u32 = 512;
const ROUNDED_TO: u32 = 32;

/// Operation codes of BPF instructions (linux/bpf.h, linux/bpf_common.h).
const CALL: u8 = 0x85;
const ADD_IMMEDIATE: u8 = 0x07;
const MOVE_REGISTER: u8 = 0xbf;
/// Number of the frame pointer's register.
const FRAME: u8 = 10;
/// Value of the source register in a call of a function of the same object (BPF_PSEUDO_CALL).
const OWN_FUNCTION: u8 = 1;

#[derive(Debug, Default)]
struct Function {
    /// Size of its frame in bytes.
    frame: u32,
    calls: BTreeSet<String>,
}

struct Instruction {
    operation: u8,
    target: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|[operation, registers, low, high, immediate @ ..]| Instruction {
            operation: *operation,
            target: registers & 0xf,
            source: registers >> 4,
            offset: i16::from_le_bytes([*low, *high]),
            immediate: i32::from_le_bytes(*immediate),
        })
        .collect()
}

/// Returns the size of a function's frame: the deepest byte that it accesses below its frame pointer.
fn frame(body: &[Instruction]) -> u32 {
    let accesses = body.iter().filter_map(|instruction| {
        let pointer = match instruction.operation & 7 {
            // The lower three bits are the class: 1 has loads, 2 and 3 have stores of an immediate or a register.
            1 => instruction.source,
            2 | 3 => instruction.target,
            _ => return None,
        };
        (pointer == FRAME).then_some(i32::from(instruction.offset))
    });
    let addresses = body.windows(2).filter_map(|pair| {
        let copies = pair[0].operation == MOVE_REGISTER && pair[0].source == FRAME;
        let adds = pair[1].operation == ADD_IMMEDIATE && pair[1].target == pair[0].target;
        (copies && adds).then_some(pair[1].immediate)
    });
    accesses.chain(addresses).min().unwrap_or(0).min(0).unsigned_abs()
}

fn functions(elf: &[u8]) -> BTreeMap<String, Function> {
    let file = object::File::parse(elf).unwrap();
    let mut functions = BTreeMap::new();
    // Calls of static functions name a section and an offset in it instead of the function.
    let at: HashMap<_, _> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| {
            Some(((symbol.section_index()?, symbol.address()), symbol.name().ok()?.to_owned()))
        })
        .collect();
    for ((section, address), name) in &at {
        let section = file.section_by_index(*section).unwrap();
        let size = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap().size();
        let body = instructions(&section.data().unwrap()[*address as usize..(address + size) as usize]);
        let targets: HashMap<u64, _> = section.relocations().collect();
        let calls = body
            .iter()
            .enumerate()
            .filter(|(_, instruction)| instruction.operation == CALL && instruction.source == OWN_FUNCTION);
        let calls = calls.map(|(number, instruction)| {
            let place = address + 8 * number as u64;
            let Some(relocation) = targets.get(&place) else {
                let target = (place as i64 + 8 * (i64::from(instruction.immediate) + 1)) as u64;
                return at[&(section.index(), target)].clone();
            };
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("a call of no symbol") };
            let symbol = file.symbol_by_index(symbol).unwrap();
            if symbol.kind() == SymbolKind::Text {
                return symbol.name().unwrap().to_owned();
            }
            let target = 8 * (i64::from(instruction.immediate) + 1) as u64;
            at[&(symbol.section_index().unwrap(), target)].clone()
        });
        functions.insert(name.clone(), Function { frame: frame(&body), calls: calls.collect() });
    }
    functions
}

/// Returns the stack size in bytes of the deepest call chain that begins with a function, and the chain's functions.
fn deepest(name: &str, functions: &BTreeMap<String, Function>) -> (u32, Vec<String>) {
    let function = &functions[name];
    let below = function.calls.iter().map(|call| deepest(call, functions)).max();
    let (depth, mut chain) = below.unwrap_or_default();
    chain.insert(0, format!("{name} ({})", function.frame));
    (depth + function.frame.max(1).next_multiple_of(ROUNDED_TO), chain)
}

#[test]
fn every_chain_of_calls_fits_the_stack() {
    const OTHER_TYPED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/other/typed.bpf.o"));
    const OTHER_PLAIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/other/plain.bpf.o"));
    const OTHER_HTTP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/other/http.bpf.o"));
    const OTHER_TLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/other/tls.bpf.o"));
    const OTHER_STACKS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/other/stacks.bpf.o"));
    // Object, its bytes, and lower bounds of the number of programs and of the deepest chain in bytes. Values below
    // these bounds would mean that this test reads the object wrongly.
    let objects = [
        ("typed", Variant::Typed.object(), 15, 300),
        ("plain", Variant::Plain.object(), 15, 300),
        ("http", HTTP_OBJECT, 8, 200),
        ("tls", TLS_OBJECT, 15, 200),
        ("stacks", STACKS_OBJECT, 3, 64),
        ("typed, other architecture", OTHER_TYPED, 15, 300),
        ("plain, other architecture", OTHER_PLAIN, 15, 300),
        ("http, other architecture", OTHER_HTTP, 8, 200),
        ("tls, other architecture", OTHER_TLS, 15, 200),
        ("stacks, other architecture", OTHER_STACKS, 3, 64),
    ];
    for (variant, object, least, shallowest) in objects {
        let functions = functions(object);
        let programs: Vec<_> = functions.keys().filter(|name| name.starts_with("tt_")).collect();
        assert!(programs.len() >= least, "{variant} has {programs:?}");
        let depths = programs.iter().map(|program| deepest(program, &functions));
        let (depth, chain) = depths.max().unwrap();
        assert!(depth >= shallowest, "{variant}: {depth} bytes at most are too few to be true: {chain:?}");
        assert!(depth <= LIMIT, "{variant}: {depth} bytes of stack: {}", chain.join(" -> "));
    }
}
