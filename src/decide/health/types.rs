//! What can be known of a rule before it runs: that its names exist and that it says yes or no.
//!
//! Sound, not complete: what is refused could never have held, and `body.ok` is left to the day.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators as op};
use cel::{Context, Program, Value};

use super::parse::{STANDARD, children, compile, with_stack};
use super::vocabulary::{FUNCTIONS, METHODS, RELEASE_KEYS, TYPE_NAMES, Type, WORKERS_KEYS, variables};
use super::{ProbeKind, RuleError};
use crate::model::nearest::suggestion;

/// Whether `rule` can be right for this kind of probe.
///
/// # Errors
/// [`RuleError`] when it is too long, is no CEL, speaks of something that does not exist, or cannot
/// be true or false.
pub fn check(rule: &str, probe: ProbeKind) -> Result<(), RuleError> {
    let rule = rule.to_owned();
    let checked = with_stack(move || {
        let program = compile(&rule)?;
        Checker { probe, program: &program, scope: Vec::new() }.condition(program.expression())
    });
    checked.unwrap_or_else(|| Err(RuleError::new("the rule cannot be checked: the CEL parser gave up")))
}

struct Checker<'a> {
    probe: ProbeKind,
    program: &'a Program,
    /// Variables of `all`, `exists` and their like, innermost last.
    scope: Vec<(&'a str, Type)>,
}

type Checked = Result<Type, RuleError>;

impl<'a> Checker<'a> {
    fn error(&self, at: &IdedExpr, message: impl Into<String>) -> RuleError {
        let offset = self.program.source_info().offset_for(at.id).and_then(|(start, _)| usize::try_from(start).ok());
        RuleError::new(message).at(offset)
    }

    /// An expression that must be true or false.
    fn condition(&mut self, expr: &'a IdedExpr) -> Result<(), RuleError> {
        if let Expr::Call(call) = &expr.expr
            && call.func_name == op::CONDITIONAL
            && let [condition, yes, no] = call.args.as_slice()
        {
            self.condition(condition)?;
            self.condition(yes)?;
            return self.condition(no);
        }
        match self.type_of(expr)? {
            Type::Bool | Type::Any => Ok(()),
            other => Err(self
                .error(expr, format!("a rule must be true or false, this is {}", other.word()))
                .help("compare it with something, such as `status == 200` or `size(body.errors) == 0`")),
        }
    }

    fn type_of(&mut self, expr: &'a IdedExpr) -> Checked {
        match &expr.expr {
            Expr::Unspecified => Err(self.error(expr, "this is no complete expression")),
            Expr::Literal(value) => Ok(literal(value)),
            Expr::Ident(name) => self.name(expr, name),
            Expr::Select(select) => {
                let of = self.type_of(&select.operand)?;
                let field = self.field(expr, of, &select.field)?;
                Ok(if select.test { Type::Bool } else { field })
            }
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.type_of(element).map(drop))?;
                Ok(Type::List)
            }
            Expr::Map(_) => {
                children(expr).into_iter().try_for_each(|part| self.type_of(part).map(drop))?;
                Ok(Type::Map)
            }
            Expr::Struct(made) => Err(self
                .error(expr, format!("there is no message type `{}`", made.type_name))
                .help("write a map: {\"key\": value}")),
            Expr::Call(call) => self.call(expr, call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn name(&self, expr: &IdedExpr, name: &str) -> Checked {
        if let Some((_, found)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(*found);
        }
        let variables = variables(self.probe);
        if let Some((_, found)) = variables.iter().find(|(known, _)| *known == name) {
            return Ok(*found);
        }
        if TYPE_NAMES.contains(&name) {
            return Ok(Type::Meta);
        }
        let known: Vec<&str> = variables.iter().map(|(name, _)| *name).collect();
        Err(self
            .error(expr, format!("there is no `{name}` in rules over {} probes", self.probe.word()))
            .help(suggestion(name, &known)))
    }

    fn field(&self, expr: &IdedExpr, of: Type, field: &str) -> Checked {
        let keys: &[&str] = match of {
            Type::Any | Type::Map => return Ok(Type::Any),
            Type::Headers if field.chars().any(char::is_uppercase) => {
                return Err(self
                    .error(expr, format!("no header is named `{field}` here: header names are in lower case"))
                    .help(format!("write `headers[\"{}\"]`", field.to_lowercase())));
            }
            Type::Headers => return Ok(Type::Text),
            Type::Release => &RELEASE_KEYS,
            Type::Workers => &WORKERS_KEYS,
            other => return Err(self.error(expr, format!("{} has no `{field}`", other.word()))),
        };
        if keys.contains(&field) {
            return Ok(if of == Type::Workers { Type::Int } else { Type::Text });
        }
        let whole = if of == Type::Workers { "workers" } else { "release" };
        Err(self.error(expr, format!("`{whole}` has no `{field}`")).help(suggestion(field, keys)))
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Checked {
        let range = &comprehension.iter_range;
        let element = match self.type_of(range)? {
            Type::Any | Type::List | Type::Map => Type::Any,
            Type::Headers | Type::Release | Type::Workers => Type::Text,
            other => return Err(self.error(range, format!("{} has no elements", other.word()))),
        };
        let result = self.type_of(&comprehension.accu_init)?;
        let outside = self.scope.len();
        self.scope.push((&comprehension.iter_var, element));
        if let Some(second) = &comprehension.iter_var2 {
            self.scope.push((second, Type::Any));
        }
        self.scope.push((&comprehension.accu_var, result));
        self.type_of(&comprehension.loop_cond)?;
        self.type_of(&comprehension.loop_step)?;
        let result = self.type_of(&comprehension.result)?;
        self.scope.truncate(outside);
        Ok(result)
    }

    fn call(&mut self, expr: &'a IdedExpr, call: &'a CallExpr) -> Checked {
        match (&call.target, call.args.as_slice()) {
            (Some(target), arguments) => self.method(expr, call, target, arguments),
            (None, [condition, yes, no]) if call.func_name == op::CONDITIONAL => {
                self.operand(condition)?;
                let (yes, no) = (self.type_of(yes)?, self.type_of(no)?);
                Ok(if yes == no { yes } else { Type::Any })
            }
            (None, [left, right]) if is_operator(&call.func_name) => self.binary(expr, call, left, right),
            (None, [one]) if call.func_name == op::NOT_STRICTLY_FALSE => self.operand(one),
            (None, [one]) if call.func_name == op::LOGICAL_NOT => self.operand(one),
            (None, [one]) if call.func_name == op::NEGATE => match self.type_of(one)? {
                known @ (Type::Any | Type::Int | Type::Double | Type::Duration) => Ok(known),
                other => Err(self.error(expr, format!("{} has no negative", other.word()))),
            },
            (None, arguments) => self.function(expr, call, arguments),
        }
    }

    /// A part that must be true or false.
    fn operand(&mut self, expr: &'a IdedExpr) -> Checked {
        match self.type_of(expr)? {
            Type::Bool | Type::Any => Ok(Type::Bool),
            other => Err(self
                .error(expr, format!("this is {} where true or false is needed", other.word()))
                .help("compare it with something")),
        }
    }

    fn binary(&mut self, expr: &'a IdedExpr, call: &CallExpr, left: &'a IdedExpr, right: &'a IdedExpr) -> Checked {
        let operator = call.func_name.as_str();
        if matches!(operator, op::LOGICAL_AND | op::LOGICAL_OR) {
            self.operand(left)?;
            return self.operand(right);
        }
        let (one, two) = (self.type_of(left)?, self.type_of(right)?);
        match operator {
            op::INDEX => self.index(expr, one, right),
            op::OPT_INDEX | op::OPT_SELECT => Ok(Type::Any),
            op::IN => match two {
                Type::Any | Type::List => Ok(Type::Bool),
                map if map.is_map() => Ok(Type::Bool),
                other => Err(self.error(right, format!("`in` looks into a list or a map, this is {}", other.word()))),
            },
            op::EQUALS | op::NOT_EQUALS if one == Type::Null || two == Type::Null => Ok(Type::Bool),
            op::EQUALS | op::NOT_EQUALS | op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                if one.compares_with(two) {
                    return Ok(Type::Bool);
                }
                let error = self.error(expr, format!("{} never compares with {}", one.word(), two.word()));
                Err(match (one, two) {
                    (Type::Duration, other) | (other, Type::Duration) if other != Type::Timestamp => {
                        error.help("write a duration, such as `latency < duration(\"2s\")`")
                    }
                    (Type::Text, other) | (other, Type::Text) if other.is_number() => {
                        error.help("write numbers without quotes")
                    }
                    _ => error,
                })
            }
            _ => self.arithmetic(expr, operator, one, two),
        }
    }

    fn arithmetic(&self, expr: &IdedExpr, operator: &str, one: Type, two: Type) -> Checked {
        if one == Type::Any || two == Type::Any {
            return Ok(Type::Any);
        }
        let result = match (operator, one, two) {
            (op::ADD, Type::Timestamp, Type::Duration) | (op::ADD, Type::Duration, Type::Timestamp) => {
                Some(Type::Timestamp)
            }
            (op::SUBSTRACT, Type::Timestamp, Type::Duration) => Some(Type::Timestamp),
            (op::SUBSTRACT, Type::Timestamp, Type::Timestamp) => Some(Type::Duration),
            _ if one == two && same_type(operator, one) => Some(one),
            _ => None,
        };
        result.ok_or_else(|| {
            let sign = operator.trim_matches('_');
            self.error(expr, format!("`{sign}` does not work between {} and {}", one.word(), two.word()))
                .help("bring both to one type with int(), double(), string() or duration()")
        })
    }

    fn index(&mut self, expr: &'a IdedExpr, of: Type, index: &'a IdedExpr) -> Checked {
        match (of, &index.expr) {
            (Type::List, _) => Ok(Type::Any),
            (_, Expr::Literal(LiteralValue::String(key))) => {
                let key = key.inner().to_owned();
                self.field(index, of, &key)
            }
            (Type::Any | Type::Map, _) => Ok(Type::Any),
            (Type::Headers | Type::Release, _) => Ok(Type::Text),
            (Type::Workers, _) => Ok(Type::Int),
            (other, _) => Err(self.error(expr, format!("{} has no elements", other.word()))),
        }
    }

    fn function(&mut self, expr: &'a IdedExpr, call: &'a CallExpr, arguments: &'a [IdedExpr]) -> Checked {
        for argument in arguments {
            self.type_of(argument)?;
        }
        let name = call.func_name.as_str();
        let Some((_, result)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = FUNCTIONS.iter().map(|(name, _)| *name).collect();
            let error = self.error(expr, format!("there is no function `{name}`"));
            return Err(match METHODS.iter().find(|(method, _)| *method == name) {
                Some(_) => error.help(format!("it is called on a value: `body.{name}(…)`")),
                None => error.help(suggestion(name, &known)),
            });
        };
        self.constant(expr, arguments)?;
        Ok(*result)
    }

    fn method(
        &mut self,
        expr: &'a IdedExpr,
        call: &'a CallExpr,
        target: &'a IdedExpr,
        arguments: &'a [IdedExpr],
    ) -> Checked {
        let name = call.func_name.as_str();
        let namespace = matches!(&target.expr, Expr::Ident(ident) if ident == "optional");
        if namespace && matches!(name, "of" | "none" | "ofNonZeroValue") {
            for argument in arguments {
                self.type_of(argument)?;
            }
            return Ok(Type::Any);
        }
        self.type_of(target)?;
        for argument in arguments {
            self.type_of(argument)?;
        }
        let Some((_, result)) = METHODS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
            return Err(self.error(expr, format!("there is no function `{name}`")).help(suggestion(name, &known)));
        };
        // A pattern that does not compile fails whatever it is applied to.
        if name == "matches"
            && let [IdedExpr { expr: Expr::Literal(LiteralValue::String(pattern)), .. }] = arguments
        {
            let text = Value::from("");
            let mut context = Context::with_env(STANDARD.clone());
            context.add_variable_from_value("text", text);
            context.add_variable_from_value("pattern", Value::from(pattern.inner()));
            let tried = STANDARD.compile("text.matches(pattern)").ok().map(|program| program.execute(&context));
            if let Some(Err(error)) = tried {
                return Err(self.error(expr, format!("the pattern is no regular expression: {error}")));
            }
        }
        Ok(*result)
    }

    /// A function of literals gives the same at every run: an error now is an error for ever.
    fn constant(&self, expr: &IdedExpr, arguments: &[IdedExpr]) -> Result<(), RuleError> {
        if arguments.iter().all(|argument| matches!(argument.expr, Expr::Literal(_))) {
            let context = Context::with_env(STANDARD.clone());
            if let Err(error) = Value::resolve(expr, &context) {
                return Err(self.error(expr, format!("this always fails: {error}")));
            }
        }
        Ok(())
    }
}

fn literal(value: &LiteralValue) -> Type {
    match value {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// Whether `operator` works between two of this type.
fn same_type(operator: &str, of: Type) -> bool {
    match operator {
        op::ADD => of.is_number() || matches!(of, Type::Text | Type::Bytes | Type::List | Type::Duration),
        op::SUBSTRACT => of.is_number() || of == Type::Duration,
        op::MULTIPLY | op::DIVIDE => of.is_number(),
        op::MODULO => matches!(of, Type::Int | Type::Uint),
        _ => false,
    }
}

fn is_operator(name: &str) -> bool {
    name == op::IN || (name.starts_with('_') && name.ends_with(['_', ']']))
}
