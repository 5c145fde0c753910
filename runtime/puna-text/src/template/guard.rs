//! A template's syntax tree with its budget put in: what is computed passes through a filter that charges for it.
//!
//! MiniJinja counts instructions, yet one instruction can double a text, compare two lists of a million items or walk a
//! value that holds itself a thousand times. So each operand is charged for being read and each result for being made,
//! by filters whose names no template can write.

use std::cell::Cell;

use minijinja::{
    Error, ErrorKind, Value,
    machinery::{
        Span,
        ast::{
            AutoEscape, BinOp, BinOpKind, Break, Call, CallArg, CallBlock, Compare, CompareOp, Const,
            Continue, Do, EmitExpr, Expr, Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr,
            List, Macro, Map, Set, SetBlock, Slice, Spanned, Stmt, Template, Test, UnaryOp, UnaryOpKind, Var,
            WithBlock,
        },
    },
};

/// Charges for a value that is read.
pub(super) const READ: &str = ":read";

/// Charges for a text that is looked through, and for nothing else: characters are counted from an end of it.
pub(super) const SEEN: &str = ":seen";

/// Charges for a new value whose items were there before.
pub(super) const JOINED: &str = ":joined";

/// Charges for a new value with all that it holds.
pub(super) const MADE: &str = ":made";

/// Deepest nesting of a template's tags and operators, each link of a chain such as `a + a + …` among them: it is
/// walked by recursion.
const MAX_NESTING: u32 = 1000;

/// Filters that look at no more than the outside of a value.
const SHALLOW_FILTERS: [&str; 6] = ["length", "count", "first", "last", "default", "d"];

/// Tests that do.
const SHALLOW_TESTS: [&str; 12] = [
    "defined",
    "undefined",
    "none",
    "string",
    "number",
    "mapping",
    "sequence",
    "iterable",
    "boolean",
    "true",
    "false",
    "integer",
];

/// A template's tree with charges.
///
/// # Errors
/// For a tag that reads other templates (there are none), and for a tree that is nested too deep.
pub(super) fn guard<'a>(template: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    let guard = Guard { depth: Cell::new(0), too_deep: Cell::new(false) };
    let guarded = guard.stmt(template)?;
    if guard.too_deep.get() { Err(too_deep()) } else { Ok(guarded) }
}

/// A walk over a template's tree.
struct Guard {
    depth: Cell<u32>,
    too_deep: Cell<bool>,
}

impl Guard {
    /// Goes one level deeper; none where that is too deep.
    fn deeper<T>(&self, walk: impl FnOnce() -> T) -> Option<T> {
        if self.depth.get() == MAX_NESTING {
            self.too_deep.set(true);
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        let walked = walk();
        self.depth.set(self.depth.get() - 1);
        Some(walked)
    }

    fn stmt<'a>(&self, node: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        self.deeper(|| self.tag(node)).unwrap_or_else(|| Err(too_deep()))
    }

    /// A template's tree, or a part of it, with charges.
    ///
    /// # Errors
    /// For a tag that reads other templates: there are none.
    fn tag<'a>(&self, node: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        Ok(match node {
            Stmt::Template(node) => {
                Stmt::Template(Spanned::new(Template { children: self.body(&node.children)? }, node.span()))
            }
            // What is printed is charged by the formatter.
            Stmt::EmitExpr(node) => {
                Stmt::EmitExpr(Spanned::new(EmitExpr { expr: self.computed(&node.expr) }, node.span()))
            }
            // So that the formatter sees it.
            Stmt::EmitRaw(node) => {
                let expr = constant(Value::from_safe_string(node.raw.to_owned()), node.span());
                Stmt::EmitExpr(Spanned::new(EmitExpr { expr }, node.span()))
            }
            Stmt::ForLoop(node) => {
                let guarded = ForLoop {
                    target: self.target(&node.target),
                    iter: self.result(&node.iter),
                    filter_expr: node.filter_expr.as_ref().map(|part| self.result(part)),
                    recursive: node.recursive,
                    body: self.body(&node.body)?,
                    else_body: self.body(&node.else_body)?,
                };
                Stmt::ForLoop(Spanned::new(guarded, node.span()))
            }
            Stmt::IfCond(node) => {
                let guarded = IfCond {
                    expr: self.result(&node.expr),
                    true_body: self.body(&node.true_body)?,
                    false_body: self.body(&node.false_body)?,
                };
                Stmt::IfCond(Spanned::new(guarded, node.span()))
            }
            Stmt::WithBlock(node) => {
                let assignments = node.assignments.iter();
                let guarded = WithBlock {
                    assignments: assignments
                        .map(|(name, value)| (self.target(name), self.result(value)))
                        .collect(),
                    body: self.body(&node.body)?,
                };
                Stmt::WithBlock(Spanned::new(guarded, node.span()))
            }
            Stmt::Set(node) => {
                // What a namespace holds is read whole, so that it never holds a namespace: see `Budget`.
                let expr = if matches!(node.target, Expr::GetAttr(_)) { Self::operand } else { Self::result };
                let guarded = Set { target: self.target(&node.target), expr: expr(self, &node.expr) };
                Stmt::Set(Spanned::new(guarded, node.span()))
            }
            Stmt::SetBlock(node) => {
                let filter = node.filter.as_ref().map(|part| self.computed(part));
                let guarded = SetBlock {
                    target: self.target(&node.target),
                    filter: Some(charge(MADE, filter, node.span())),
                    body: self.body(&node.body)?,
                };
                Stmt::SetBlock(Spanned::new(guarded, node.span()))
            }
            Stmt::AutoEscape(node) => {
                let guarded =
                    AutoEscape { enabled: self.result(&node.enabled), body: self.body(&node.body)? };
                Stmt::AutoEscape(Spanned::new(guarded, node.span()))
            }
            Stmt::FilterBlock(node) => {
                let guarded =
                    FilterBlock { filter: self.computed(&node.filter), body: self.body(&node.body)? };
                Stmt::FilterBlock(Spanned::new(guarded, node.span()))
            }
            Stmt::Macro(node) => Stmt::Macro(self.definition(node)?),
            Stmt::CallBlock(node) => {
                let guarded =
                    CallBlock { call: self.call(&node.call), macro_decl: self.definition(&node.macro_decl)? };
                Stmt::CallBlock(Spanned::new(guarded, node.span()))
            }
            Stmt::Continue(node) => Stmt::Continue(Spanned::new(Continue, node.span())),
            Stmt::Break(node) => Stmt::Break(Spanned::new(Break, node.span())),
            Stmt::Do(node) => Stmt::Do(Spanned::new(Do { call: self.call(&node.call) }, node.span())),
            Stmt::Block(_) | Stmt::Import(_) | Stmt::FromImport(_) | Stmt::Extends(_) | Stmt::Include(_) => {
                let told = "a chat template reads no other templates: no blocks, includes or imports";
                return Err(Error::new(ErrorKind::SyntaxError, told));
            }
        })
    }

    fn body<'a>(&self, body: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
        body.iter().map(|part| self.stmt(part)).collect()
    }

    fn definition<'a>(&self, node: &Spanned<Macro<'a>>) -> Result<Spanned<Macro<'a>>, Error> {
        let guarded = Macro {
            name: node.name,
            args: node.args.iter().map(|part| self.target(part)).collect(),
            defaults: node.defaults.iter().map(|part| self.result(part)).collect(),
            body: self.body(&node.body)?,
        };
        Ok(Spanned::new(guarded, node.span()))
    }

    /// What is assigned to: names, and an attribute of a namespace.
    fn target<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        match node {
            Expr::List(node) => Expr::List(Spanned::new(
                List { items: node.items.iter().map(|part| self.target(part)).collect() },
                node.span(),
            )),
            node => self.computed(node),
        }
    }

    /// An expression that is read through and through.
    fn operand<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        match self.result(node) {
            guarded if is_path(node) => charge(READ, Some(guarded), node.span()),
            guarded => guarded,
        }
    }

    /// An expression of which the outside is read, or a text.
    fn outside<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        match self.result(node) {
            guarded if is_path(node) => charge(SEEN, Some(guarded), node.span()),
            guarded => guarded,
        }
    }

    /// An expression that is kept, tested or iterated over.
    fn result<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        let kind = match node {
            Expr::Slice(_) | Expr::List(_) | Expr::Map(_) => JOINED,
            Expr::BinOp(node) if !matches!(node.op, BinOpKind::ScAnd | BinOpKind::ScOr) => JOINED,
            Expr::Filter(_) | Expr::Call(_) => MADE,
            // Something that was there before, a number, true or false.
            _ => return self.computed(node),
        };
        charge(kind, Some(self.computed(node)), node.span())
    }

    /// An expression whose parts are charged, and whose result is not.
    fn computed<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        let nothing = || constant(Value::UNDEFINED, node.span());
        self.deeper(|| self.operator(node)).unwrap_or_else(nothing)
    }

    fn operator<'a>(&self, node: &Expr<'a>) -> Expr<'a> {
        match node {
            Expr::Var(node) => Expr::Var(Spanned::new(Var { id: node.id }, node.span())),
            Expr::Const(node) => constant(node.value.clone(), node.span()),
            Expr::Slice(node) => {
                let guarded = Slice {
                    expr: self.operand(&node.expr),
                    start: node.start.as_ref().map(|part| self.result(part)),
                    stop: node.stop.as_ref().map(|part| self.result(part)),
                    step: node.step.as_ref().map(|part| self.result(part)),
                };
                Expr::Slice(Spanned::new(guarded, node.span()))
            }
            Expr::UnaryOp(node) => {
                // It is neither `Copy` nor `Clone`.
                let op =
                    if matches!(node.op, UnaryOpKind::Not) { UnaryOpKind::Not } else { UnaryOpKind::Neg };
                let guarded = UnaryOp { op, expr: self.result(&node.expr) };
                Expr::UnaryOp(Spanned::new(guarded, node.span()))
            }
            Expr::BinOp(node) => {
                let part = if matches!(node.op, BinOpKind::ScAnd | BinOpKind::ScOr) {
                    Self::result
                } else {
                    Self::operand
                };
                let guarded =
                    BinOp { op: node.op, left: part(self, &node.left), right: part(self, &node.right) };
                Expr::BinOp(Spanned::new(guarded, node.span()))
            }
            Expr::Compare(node) => {
                let ops =
                    node.ops.iter().map(|next| CompareOp { op: next.op, expr: self.operand(&next.expr) });
                let guarded = Compare { expr: self.operand(&node.expr), ops: ops.collect() };
                Expr::Compare(Spanned::new(guarded, node.span()))
            }
            Expr::IfExpr(node) => {
                let guarded = IfExpr {
                    test_expr: self.result(&node.test_expr),
                    true_expr: self.result(&node.true_expr),
                    false_expr: node.false_expr.as_ref().map(|part| self.result(part)),
                };
                Expr::IfExpr(Spanned::new(guarded, node.span()))
            }
            Expr::Filter(node) => {
                let part = if SHALLOW_FILTERS.contains(&node.name) { Self::outside } else { Self::operand };
                let guarded = Filter {
                    name: node.name,
                    expr: node.expr.as_ref().map(|value| part(self, value)),
                    args: self.args(&node.args, Self::operand),
                };
                Expr::Filter(Spanned::new(guarded, node.span()))
            }
            Expr::Test(node) => {
                let part = if SHALLOW_TESTS.contains(&node.name) { Self::result } else { Self::operand };
                let guarded = Test {
                    name: node.name,
                    expr: part(self, &node.expr),
                    args: self.args(&node.args, Self::operand),
                };
                Expr::Test(Spanned::new(guarded, node.span()))
            }
            Expr::GetAttr(node) => {
                let guarded = GetAttr { expr: self.result(&node.expr), name: node.name };
                Expr::GetAttr(Spanned::new(guarded, node.span()))
            }
            Expr::GetItem(node) => {
                let guarded = GetItem {
                    expr: self.outside(&node.expr),
                    subscript_expr: self.operand(&node.subscript_expr),
                };
                Expr::GetItem(Spanned::new(guarded, node.span()))
            }
            Expr::Call(node) => Expr::Call(self.call(node)),
            Expr::List(node) => Expr::List(Spanned::new(
                List { items: node.items.iter().map(|part| self.result(part)).collect() },
                node.span(),
            )),
            Expr::Map(node) => {
                let guarded = Map {
                    keys: node.keys.iter().map(|part| self.operand(part)).collect(),
                    values: node.values.iter().map(|part| self.result(part)).collect(),
                };
                Expr::Map(Spanned::new(guarded, node.span()))
            }
        }
    }

    /// A call, of which MiniJinja still sees whether it is a function's or a method's.
    fn call<'a>(&self, node: &Spanned<Call<'a>>) -> Spanned<Call<'a>> {
        let (expr, args) = match &node.expr {
            Expr::GetAttr(attribute) => {
                let guarded = GetAttr { expr: self.operand(&attribute.expr), name: attribute.name };
                (Expr::GetAttr(Spanned::new(guarded, attribute.span())), self.args(&node.args, Self::operand))
            }
            // A macro may be given a namespace, to write into.
            callee => (self.computed(callee), self.args(&node.args, Self::result)),
        };
        Spanned::new(Call { expr, args }, node.span())
    }

    fn args<'a>(
        &self,
        args: &[CallArg<'a>],
        positional: fn(&Self, &Expr<'a>) -> Expr<'a>,
    ) -> Vec<CallArg<'a>> {
        let guarded = args.iter().map(|arg| match arg {
            CallArg::Pos(value) => CallArg::Pos(positional(self, value)),
            CallArg::Kwarg(name, value) => CallArg::Kwarg(name, self.operand(value)),
            CallArg::PosSplat(value) => CallArg::PosSplat(self.operand(value)),
            CallArg::KwargSplat(value) => CallArg::KwargSplat(self.operand(value)),
        });
        guarded.collect()
    }
}

/// Whether an expression gives what was there before, whatever its size.
fn is_path(node: &Expr<'_>) -> bool {
    match node {
        Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) | Expr::IfExpr(_) => true,
        Expr::BinOp(node) => matches!(node.op, BinOpKind::ScAnd | BinOpKind::ScOr),
        _ => false,
    }
}

fn too_deep() -> Error {
    Error::new(ErrorKind::SyntaxError, format!("the chat template is nested deeper than {MAX_NESTING}"))
}

fn charge<'a>(kind: &'static str, expr: Option<Expr<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(Filter { name: kind, expr, args: Vec::new() }, span))
}

fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(Const { value }, span))
}
