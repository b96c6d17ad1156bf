use super::{
    Node, Problem, Reader, Slot, Tree,
    construct::{build, construct, persistent},
    globals::Global,
    text,
};
use crate::error::quote;

const MAX_OPCODES: u32 = 10_000_000;
const MAX_STACK: usize = 100_000;
const MAX_MEMO: usize = 1_000_000;
const MAX_TEXT: usize = 1 << 20;
/// The longest module or attribute name.
const MAX_NAME: usize = 1000;

/// Where a pickle stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// Alone: it may not refer to anything outside.
    Plain,
    /// Beside the storages of a torch file, which it refers to.
    Torch,
}

/// Reads one pickle, up to and with its `STOP`.
pub(crate) fn load(reader: &mut Reader<'_>, flavor: Flavor) -> Result<(Tree, Slot), Problem> {
    let mut machine =
        Machine { reader, tree: Tree::default(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), flavor };
    for _ in 0..MAX_OPCODES {
        let opcode = machine.reader.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            if !machine.stack.is_empty() || !machine.marks.is_empty() {
                return Err(Problem::broken("it ends with values left over"));
            }
            machine.reader.check_frame()?;
            machine.tree.check_shape(root)?;
            return Ok((machine.tree, root));
        }
        machine.step(opcode)?;
        machine.reader.check_frame()?;
    }
    Err(Problem::limit(format!("its pickle has more than {MAX_OPCODES} opcodes")))
}

struct Machine<'a, 'b> {
    reader: &'a mut Reader<'b>,
    tree: Tree,
    stack: Vec<Slot>,
    marks: Vec<usize>,
    memo: Vec<Option<Slot>>,
    flavor: Flavor,
}

impl Machine<'_, '_> {
    /// One opcode; see `pickletools.opcodes` for what each does.
    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            // PROTO, FRAME
            0x80 => match self.reader.byte()? {
                0..=5 => Ok(()),
                n => Err(Problem::broken(format!("its protocol is {n}, at most 5 is known"))),
            },
            0x95 => {
                let len = u64::from_le_bytes(self.reader.array()?);
                self.reader.begin_frame(len)
            }
            // Constants and numbers
            b'N' => self.push(Slot::None),
            0x88 => self.push(Slot::Bool(true)),
            0x89 => self.push(Slot::Bool(false)),
            b'J' => {
                let n = i32::from_le_bytes(self.reader.array()?);
                self.push(Slot::Int(n.into()))
            }
            b'K' => {
                let n = self.reader.byte()?;
                self.push(Slot::Int(n.into()))
            }
            b'M' => {
                let n = u16::from_le_bytes(self.reader.array()?);
                self.push(Slot::Int(n.into()))
            }
            b'G' => {
                let n = f64::from_be_bytes(self.reader.array()?);
                self.push(Slot::Float(n))
            }
            b'I' | b'L' | b'F' | b'S' | b'V' => self.text_literal(opcode),
            0x8a => {
                let len = self.reader.byte()?.into();
                self.long(len)
            }
            0x8b => {
                let len = i32::from_le_bytes(self.reader.array()?);
                self.long(usize::try_from(len).map_err(|_| Problem::broken("a length is negative"))?)
            }
            // Texts and bytes
            b'U' => {
                let len = self.reader.byte()?.into();
                self.old_string(len)
            }
            b'T' => {
                let len = i32::from_le_bytes(self.reader.array()?);
                self.old_string(usize::try_from(len).map_err(|_| Problem::broken("a length is negative"))?)
            }
            0x8c => {
                let len = self.reader.byte()?.into();
                self.text(len)
            }
            b'X' => {
                let len = u32::from_le_bytes(self.reader.array()?);
                self.text(len.into())
            }
            0x8d => {
                let len = u64::from_le_bytes(self.reader.array()?);
                self.text(len)
            }
            b'C' => {
                let len = self.reader.byte()?.into();
                self.bytes(len)
            }
            b'B' => {
                let len = u32::from_le_bytes(self.reader.array()?);
                self.bytes(len.into())
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(self.reader.array()?);
                self.bytes(len)
            }
            // Containers
            b')' => self.push_node(Node::Tuple([].into())),
            0x85..=0x87 => {
                let len = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(len).filter(|&from| from >= self.floor());
                let items = self.stack.split_off(from.ok_or_else(too_few)?);
                self.push_node(Node::Tuple(items.into()))
            }
            b't' => {
                let items = self.pop_marked()?;
                self.push_node(Node::Tuple(items.into()))
            }
            b']' => self.push_node(Node::List(Vec::new())),
            b'l' => {
                let items = self.pop_marked()?;
                self.push_node(Node::List(items))
            }
            b'}' => self.push_node(Node::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_marked()?;
                self.push_node(Node::Dict(Vec::new()))?;
                self.tree.insert(self.top()?, &items)
            }
            0x8f => self.push_node(Node::Set(Vec::new())),
            0x91 => {
                let items = self.pop_marked()?;
                self.push_node(Node::Set(Vec::new()))?;
                self.tree.extend(self.top()?, &items)
            }
            b'a' => {
                let item = self.pop()?;
                self.tree.extend(self.top()?, &[item])
            }
            b'e' | 0x90 => {
                let items = self.pop_marked()?;
                self.tree.extend(self.top()?, &items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.tree.insert(self.top()?, &[key, value])
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.tree.insert(self.top()?, &items)
            }
            // The stack and the memo
            b'(' => {
                if self.marks.len() >= MAX_STACK {
                    return Err(too_many());
                }
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => {
                    self.marks.pop();
                    Ok(())
                }
                _ => self.pop().map(drop),
            },
            b'1' => self.pop_marked().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            b'p' | b'g' => {
                let line = self.reader.line(20)?;
                let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse().ok());
                let number = number.ok_or_else(|| Problem::broken("a place in its memo is no number"))?;
                if opcode == b'p' { self.put(number) } else { self.get(number) }
            }
            b'q' => {
                let number = self.reader.byte()?.into();
                self.put(number)
            }
            b'r' => {
                let number = u32::from_le_bytes(self.reader.array()?);
                self.put(number as usize)
            }
            0x94 => self.put(self.memo.len()),
            b'h' => {
                let number = self.reader.byte()?.into();
                self.get(number)
            }
            b'j' => {
                let number = u32::from_le_bytes(self.reader.array()?);
                self.get(number as usize)
            }
            // Names, and what is made by them
            b'c' => {
                let global = self.named_global()?;
                self.push(Slot::Global(global))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.tree.str(module), self.tree.str(name)) else {
                    return Err(Problem::Refused(
                        "refused: it asks for a name that is no text, as no checkpoint does: do not load this file"
                            .to_owned(),
                    ));
                };
                let global = Global::find(module, name).ok_or_else(|| Problem::global(module, name))?;
                self.push(Slot::Global(global))
            }
            b'R' | 0x81 => {
                let args = self.pop()?;
                self.construct(args)
            }
            0x92 => {
                let named = self.pop()?;
                if self.tree.dict(named).is_none_or(|named| !named.is_empty()) {
                    return Err(Problem::broken("it makes an object from named values"));
                }
                let args = self.pop()?;
                self.construct(args)
            }
            b'i' => {
                let global = self.named_global()?;
                let args = self.pop_marked()?;
                self.push(Slot::Global(global))?;
                let args = self.tree.add(Node::Tuple(args.into()))?;
                self.construct(args)
            }
            b'o' => {
                let items = self.pop_marked()?;
                let (&class, args) = items.split_first().ok_or_else(too_few)?;
                self.push(class)?;
                let args = self.tree.add(Node::Tuple(args.into()))?;
                self.construct(args)
            }
            b'b' => {
                let state = self.pop()?;
                build(&mut self.tree, self.stack.last().copied().ok_or_else(too_few)?, state)
            }
            b'Q' => {
                let id = self.pop()?;
                if self.flavor == Flavor::Plain {
                    return Err(outside());
                }
                let named = persistent(&mut self.tree, id)?;
                self.push(named)
            }
            b'P' => Err(outside()),
            0x82..=0x84 => Err(Problem::Refused(
                "refused: it asks for a registered extension by number, as no checkpoint does: do not load this file"
                    .to_owned(),
            )),
            0x97 | 0x98 => Err(outside()),
            other => Err(Problem::broken(format!("there is no opcode {other:#04x}"))),
        }
    }

    /// `INT`, `LONG`, `FLOAT`, `STRING` and `UNICODE` of protocol 0.
    fn text_literal(&mut self, opcode: u8) -> Result<(), Problem> {
        let line = self.reader.line(MAX_TEXT)?;
        match opcode {
            b'I' if line == b"01" => self.push(Slot::Bool(true)),
            b'I' if line == b"00" => self.push(Slot::Bool(false)),
            b'I' | b'L' => match text::decimal(&line)? {
                Ok(slot) => self.push(slot),
                Err(node) => self.push_node(node),
            },
            b'F' => self.push(Slot::Float(text::float(&line)?)),
            b'S' => self.push_node(text_or_bytes(text::quoted(&line)?)),
            _ => self.push_node(Node::Str(text::raw_unicode(&line)?.into())),
        }
    }

    fn long(&mut self, len: usize) -> Result<(), Problem> {
        self.tree.check_room(len as u64)?;
        match text::integer(&self.reader.bytes(len)?) {
            Ok(slot) => self.push(slot),
            Err(node) => self.push_node(node),
        }
    }

    fn text(&mut self, len: u64) -> Result<(), Problem> {
        let bytes = self.reader.bytes(check_text(len)?)?;
        let text = String::from_utf8(bytes).map_err(|_| Problem::broken("a text is not UTF-8"))?;
        self.push_node(Node::Str(text.into()))
    }

    /// A string of Python 2, which may be text or bytes.
    fn old_string(&mut self, len: usize) -> Result<(), Problem> {
        let bytes = self.reader.bytes(check_text(len as u64)?)?;
        self.push_node(text_or_bytes(bytes))
    }

    fn bytes(&mut self, len: u64) -> Result<(), Problem> {
        self.tree.check_room(len)?;
        let bytes = self.reader.bytes(len as usize)?;
        self.push_node(Node::Bytes(bytes.into()))
    }

    /// The name that the next two lines spell.
    fn named_global(&mut self) -> Result<&'static Global, Problem> {
        let module = String::from_utf8(self.reader.line(MAX_NAME)?);
        let name = String::from_utf8(self.reader.line(MAX_NAME)?);
        let (Ok(module), Ok(name)) = (module, name) else {
            return Err(Problem::broken("a name is not UTF-8"));
        };
        Global::find(&module, &name).ok_or_else(|| Problem::global(&module, &name))
    }

    /// What the name on top of the stack makes of `args`.
    fn construct(&mut self, args: Slot) -> Result<(), Problem> {
        let class = self.pop()?;
        let Slot::Global(global) = class else {
            let what = match self.tree.str(class) {
                Some(text) => format!("the text {}", quote(text)),
                None => self.tree.kind(class).to_owned(),
            };
            return Err(Problem::limit(format!("its pickle calls {what}")));
        };
        let made = construct(&mut self.tree, global, args)?;
        self.push(made)
    }

    /// How many values lie below the last mark, out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, slot: Slot) -> Result<(), Problem> {
        if self.stack.len() >= MAX_STACK {
            return Err(too_many());
        }
        self.stack.push(slot);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Result<(), Problem> {
        let slot = self.tree.add(node)?;
        self.push(slot)
    }

    fn top(&self) -> Result<Slot, Problem> {
        if self.stack.len() <= self.floor() {
            return Err(too_few());
        }
        self.stack.last().copied().ok_or_else(too_few)
    }

    fn pop(&mut self) -> Result<Slot, Problem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_marked(&mut self) -> Result<Vec<Slot>, Problem> {
        let mark = self.marks.pop().ok_or_else(too_few)?;
        Ok(self.stack.split_off(mark))
    }

    fn put(&mut self, number: usize) -> Result<(), Problem> {
        let top = self.top()?;
        if number >= MAX_MEMO {
            return Err(Problem::limit(format!("its pickle keeps more than {MAX_MEMO} values in its memo")));
        }
        if number >= self.memo.len() {
            self.tree.hold(2 * (number + 1 - self.memo.len()) * size_of::<Slot>())?;
            self.memo.resize(number + 1, None);
        }
        self.memo[number] = Some(top);
        Ok(())
    }

    fn get(&mut self, number: usize) -> Result<(), Problem> {
        let kept = self.memo.get(number).copied().flatten();
        self.push(kept.ok_or_else(|| Problem::broken("it takes from its memo what was not put there"))?)
    }
}

fn check_text(len: u64) -> Result<usize, Problem> {
    if len <= MAX_TEXT as u64 {
        return Ok(len as usize);
    }
    Err(Problem::limit(format!("its pickle has a text of {len} bytes, more than {MAX_TEXT}")))
}

/// A string of Python 2: text if it can be.
fn text_or_bytes(bytes: Vec<u8>) -> Node {
    match String::from_utf8(bytes) {
        Ok(text) => Node::Str(text.into()),
        Err(error) => Node::Bytes(error.into_bytes().into()),
    }
}

fn too_few() -> Problem {
    Problem::broken("it takes more values than there are")
}

fn too_many() -> Problem {
    Problem::limit(format!("its pickle stacks more than {MAX_STACK} values"))
}

fn outside() -> Problem {
    Problem::limit("its pickle refers to something outside of it")
}
