//! Compiles rules within bounds: whatever stands in a manifest, it ends in an error and not in a crash.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Env, Program};

use super::limits::too_nested;
use super::{RULE_LIMIT, RuleError};

/// The parser takes up to 100 KB of stack for each level of brackets, and evaluation some 30 KB for
/// each level of the expression; both are recursive, and running out of stack would end the process.
const STACK: usize = 64 * 1024 * 1024;

/// Most brackets inside each other.
const BRACKETS: usize = 32;

/// Most levels of an expression; macros such as `all` add some.
const LEVELS: usize = 100;

/// Most macros inside each other: each goes through a whole list for every element of the one around it.
const MACROS: usize = 2;

/// CEL's standard functions and macros, no extensions.
pub(super) static STANDARD: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

/// Most compiled rules that are kept; a manifest that changes for ever must not fill the memory.
const KEPT: usize = 256;

thread_local! {
    /// Rules that were compiled before: what was checked when a manifest was loaded is judged by soon after.
    static COMPILED: RefCell<HashMap<String, Rc<Program>>> = RefCell::default();
}

type Job = Box<dyn FnOnce() + Send>;

/// The one thread whose stack the bounds of this room are made for; none when it cannot be had.
static WORKER: LazyLock<Option<Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Job>();
    let thread = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK);
    let work = move || jobs.into_iter().for_each(|job| job());
    thread.spawn(work).ok().map(|_| sender)
});

/// Begins to build the parser's tables, which takes milliseconds, while the caller goes on.
pub fn warm_up() {
    let familiar = r#"status == 200 && body.status == "" && body.release == release.id"#;
    // Where there is no thread, the first rule will say so.
    let _ = hand_over(move || drop(compile(familiar)));
}

/// Runs `work` on the thread with the deep stack; none when there is no such thread or `work` panicked.
pub(super) fn with_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    hand_over(work)?.recv().ok()
}

/// The receiver is left without an answer if `work` panics.
fn hand_over<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
    let (answer, receiver) = channel();
    let job = move || {
        // What a panic may leave half-made is dropped with it, or guarded by a lock that says so.
        let done = catch_unwind(AssertUnwindSafe(work));
        // Nobody may be waiting for it.
        let _ = done.map(|done| answer.send(done));
    };
    WORKER.as_ref()?.send(Box::new(job)).ok()?;
    Some(receiver)
}

/// Parses a rule; only to be called inside [`with_stack`].
pub(super) fn compile(rule: &str) -> Result<Rc<Program>, RuleError> {
    if let Some(known) = COMPILED.with_borrow(|compiled| compiled.get(rule).cloned()) {
        return Ok(known);
    }
    let program = Rc::new(parse(rule)?);
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(rule.to_owned(), Rc::clone(&program));
    });
    Ok(program)
}

fn parse(rule: &str) -> Result<Program, RuleError> {
    if rule.trim().is_empty() {
        return Err(RuleError::new("the rule is empty").help("write a condition such as `status == 200`, or remove it"));
    }
    if rule.len() > RULE_LIMIT {
        return Err(RuleError::new(format!("the rule has {} bytes; at most {RULE_LIMIT} are allowed", rule.len()))
            .help("split it into several rules: all of them must hold"));
    }
    if let Some(offset) = too_deep(rule) {
        return Err(RuleError::new(format!("more than {BRACKETS} brackets inside each other"))
            .at(Some(offset))
            .help("split it into several rules: all of them must hold"));
    }
    let compiled = STANDARD.compile(rule).map_err(|errors| {
        let Some(first) = errors.errors.first() else { return RuleError::new("this is no CEL expression") };
        let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
        // The list of everything that could stand there helps nobody.
        let message = message.split(" expecting ").next().unwrap_or(message);
        if message.starts_with("token recognition error at: '=") {
            return RuleError::new("a single `=`").at(offset_of(rule, first.pos)).help("write `==` to compare");
        }
        let message = if message.contains("Recursion limit") { "the expression is nested too deep" } else { message };
        RuleError::new(format!("this is no CEL expression: {message}"))
            .at(offset_of(rule, first.pos))
            .help("see https://cel.dev for the language; texts stand in quotes, conditions are joined by && and ||")
    });
    let program = compiled?;
    if levels(program.expression()) > LEVELS {
        return Err(RuleError::new(format!("the expression is nested more than {LEVELS} levels deep"))
            .help("split it into several rules: all of them must hold"));
    }
    if let Some(inner) = too_nested(program.expression(), MACROS) {
        let start = program.source_info().offset_for(inner.id).and_then(|(start, _)| usize::try_from(start).ok());
        return Err(RuleError::new(format!("more than {MACROS} macros such as `all` inside each other"))
            .at(start)
            .help("let the application count, and compare its number: `body.failed == 0`"));
    }
    Ok(program)
}

/// How deep an expression is, measured without recursion.
fn levels(root: &IdedExpr) -> usize {
    let mut deepest = 0;
    let mut open = vec![(root, 1)];
    while let Some((expr, level)) = open.pop() {
        deepest = deepest.max(level);
        open.extend(children(expr).into_iter().map(|child| (child, level + 1)));
    }
    deepest
}

/// The parts of an expression, in the order in which they are written.
pub(super) fn children(expr: &IdedExpr) -> Vec<&IdedExpr> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => entries(map.entries.iter().map(|entry| &entry.expr)),
        Expr::Struct(made) => entries(made.entries.iter().map(|entry| &entry.expr)),
        Expr::Comprehension(all) => {
            vec![&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
        }
    }
}

fn entries<'a>(entries: impl Iterator<Item = &'a EntryExpr>) -> Vec<&'a IdedExpr> {
    let parts = entries.flat_map(|entry| match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    });
    parts.collect()
}

/// Where the bracket too many stands. Brackets in texts count too: the bound is far from what rules need.
fn too_deep(rule: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in rule.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > BRACKETS {
            return Some(offset);
        }
    }
    None
}

/// The parser counts lines and characters from 1.
fn offset_of(rule: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before: usize = rule.split_inclusive('\n').take(line).map(str::len).sum();
    let text = rule.get(before..)?;
    let inside = text.char_indices().nth(column).map_or(text.len(), |(offset, _)| offset);
    Some(before + inside)
}
