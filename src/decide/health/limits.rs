//! How much one rule may do: a rule cannot be stopped from outside, so it stops itself.
//!
//! Work grows only where a macro (`all`, `exists`, `map` and the like) goes through a list. [`Limits::bounded`] puts
//! questions into such loops: before each of them, what it goes through is weighed; after each step that keeps a
//! value, that value is; and each step asks whether to go on. Whatever is refused fails the rule with its reason,
//! also where the language would forgive an error, as `||` does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators as op};
use cel::{Context, ExecutionError, Value};

use super::parse::children;

/// Most elements of a list or map that a macro goes through.
pub(super) const ELEMENTS: usize = 10_000;

/// Most values, all those inside of others counted, that one rule goes through and keeps. Some 100 bytes and a
/// microsecond each.
const VALUES: u64 = 1_000_000;

/// So many bytes of a text weigh as much as a value.
const BYTES: usize = 64;

// No rule can spell these names.
const RANGE: &str = "@range";
const KEEP: &str = "@keep";
const ON: &str = "@on";

/// What is left for one rule, and why it was refused more.
#[derive(Debug)]
pub(super) struct Limits {
    left: AtomicU64,
    refused: Mutex<Option<String>>,
    stop: Arc<AtomicBool>,
}

impl Limits {
    /// `stop` is set by whoever waits no longer.
    pub(super) fn new(stop: &Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(VALUES), refused: Mutex::default(), stop: Arc::clone(stop) })
    }

    /// Why the rule was not evaluated to its end; whatever came of it then means nothing.
    pub(super) fn refused(&self) -> Option<String> {
        self.goes_on();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn refuse(&self, why: impl Into<String>) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.into());
    }

    fn goes_on(&self) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            self.refuse("the rule took too long");
        }
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn charge(&self, value: &Value) {
        let weight = weight(value, VALUES);
        let took = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(weight));
        if took.is_err() {
            self.refuse(format!("the rule goes through more than {VALUES} values"));
        }
    }

    /// The value, if there is room for it.
    fn admit(&self, value: Value) -> Result<Value, ExecutionError> {
        if self.goes_on() {
            self.charge(&value);
        }
        if self.goes_on() { Ok(value) } else { Err(ExecutionError::function_error(RANGE, "too much")) }
    }

    /// Teaches `context` the questions that [`bounded`](Self::bounded) asks.
    pub(super) fn attend(self: &Arc<Self>, context: &mut Context<'_, '_>) {
        let (range, keep, on) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        let range = move |all: Value| -> Result<Value, ExecutionError> {
            let size = match &all {
                Value::List(items) => items.len(),
                Value::Map(entries) => entries.map.len(),
                _ => 0,
            };
            if size > ELEMENTS {
                range.refuse(format!("it goes through {size} elements; a rule may go through {ELEMENTS} at most"));
            }
            range.admit(all)
        };
        let keep = move |value: Value| -> Result<Value, ExecutionError> { keep.admit(value) };
        // Names of our own cannot clash with the standard ones.
        let _ = context.add_function(RANGE, range);
        let _ = context.add_function(KEEP, keep);
        let _ = context.add_function(ON, move || -> bool { on.goes_on() });
    }

    /// The same expression, asking in its loops.
    pub(super) fn bounded(expr: &IdedExpr) -> IdedExpr {
        let mut expr = expr.clone();
        bound(&mut expr);
        expr
    }
}

/// Follows every part down; expressions are at most as deep as the parser lets through.
fn bound(expr: &mut IdedExpr) {
    match &mut expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => bound(&mut select.operand),
        Expr::Call(call) => {
            call.target.as_deref_mut().into_iter().chain(&mut call.args).for_each(bound);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(bound),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let cel::common::ast::EntryExpr::MapEntry(entry) = &mut entry.expr {
                    bound(&mut entry.key);
                    bound(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(all) => {
            for part in
                [&mut all.iter_range, &mut all.accu_init, &mut all.loop_cond, &mut all.loop_step, &mut all.result]
            {
                bound(part);
            }
            wrap(&mut all.iter_range, |range| call(RANGE, vec![range]));
            // `map` and `filter` are fast only while their condition is a literal: they are asked in their step.
            if !matches!(all.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(_))) {
                wrap(&mut all.loop_cond, goes_on_and);
            }
            step(&mut all.loop_step, &all.accu_var);
        }
    }
}

/// Asks in a step: `IF ? STEP : @result`, `@result + [KEPT]`.
fn step(expr: &mut IdedExpr, accumulated: &str) {
    let Expr::Call(made) = &mut expr.expr else { return };
    match (made.func_name.as_str(), made.args.as_mut_slice()) {
        (op::CONDITIONAL, [condition, then, _]) => {
            wrap(condition, goes_on_and);
            step(then, accumulated);
        }
        (op::ADD, [left, right]) if matches!(&left.expr, Expr::Ident(name) if name == accumulated) => {
            if let Expr::List(list) = &mut right.expr {
                list.elements.iter_mut().for_each(|kept| wrap(kept, |kept| call(KEEP, vec![kept])));
            }
        }
        _ => {}
    }
}

fn goes_on_and(condition: IdedExpr) -> Expr {
    let on = IdedExpr { id: condition.id, expr: call(ON, Vec::new()) };
    call(op::LOGICAL_AND, vec![on, condition])
}

fn call(name: &str, args: Vec<IdedExpr>) -> Expr {
    Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args })
}

fn wrap(expr: &mut IdedExpr, around: impl FnOnce(IdedExpr) -> Expr) {
    let id = expr.id;
    let inner = std::mem::take(expr);
    *expr = IdedExpr { id, expr: around(inner) };
}

/// How many values there are in one, itself counted; no more than a little over `most` are counted.
fn weight(value: &Value, most: u64) -> u64 {
    let mut counted: u64 = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        counted += 1;
        if counted > most {
            break;
        }
        match value {
            Value::List(items) => open.extend(items.iter()),
            Value::Map(entries) => open.extend(entries.map.values()),
            Value::String(text) => counted += (text.len() / BYTES) as u64,
            Value::Bytes(bytes) => counted += (bytes.len() / BYTES) as u64,
            _ => {}
        }
    }
    counted
}

/// The first macro that stands inside of more than `most - 1` others, and runs for each of their elements.
pub(super) fn too_nested(root: &IdedExpr, most: usize) -> Option<&IdedExpr> {
    let mut open = vec![(root, 0)];
    while let Some((expr, depth)) = open.pop() {
        let Expr::Comprehension(all) = &expr.expr else {
            open.extend(children(expr).into_iter().map(|child| (child, depth)));
            continue;
        };
        if depth >= most {
            return Some(expr);
        }
        // What is gone through is made once.
        open.push((&all.iter_range, depth));
        open.extend([&all.loop_cond, &all.loop_step].map(|part| (part, depth + 1)));
        open.extend([&all.accu_init, &all.result].map(|part| (part, depth)));
    }
    None
}
