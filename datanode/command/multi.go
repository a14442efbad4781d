package command

const (
	errNoMulti        = Error("ERR MULTI is not supported by this version of Atoll")
	errNestedMulti    = Error("ERR MULTI calls can not be nested")
	errInMulti        = Error("ERR not executed, since MULTI was refused: EXEC, DISCARD, HELLO or RESET ends this")
	errExecAbort      = Error("EXECABORT Transaction discarded because of previous errors.")
	errExecNoMulti    = Error("ERR EXEC without MULTI")
	errDiscardNoMulti = Error("ERR DISCARD without MULTI")
)

// Transactions are refused whole. Clients send MULTI, the body and EXEC without waiting for replies, so a
// body that were executed after a refused MULTI would be done command by command, or in part.

func multiSpecs() []Spec {
	spec := func(name, since, summary string, run func(*Ctx)) Spec {
		return Spec{Name: name, Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagSession | FlagInMulti,
			Scope: ScopeTenant, Group: "transactions", Since: since, Summary: summary, Run: run}
	}
	return []Spec{
		spec("multi", "1.2.0", "Refused, with the commands up to EXEC or DISCARD.", multi),
		spec("exec", "1.2.0", "Ends what a refused MULTI began.", endMulti(errExecNoMulti)),
		spec("discard", "2.0.0", "Ends what a refused MULTI began.", endMulti(errDiscardNoMulti)),
	}
}

func multi(c *Ctx) {
	if c.Session.inMulti {
		c.Fail(errNestedMulti)
		return
	}
	c.Session.inMulti = true
	c.Fail(errNoMulti)
}

// endMulti returns the command that ends a refused transaction, with its refusal where there is none.
func endMulti(without Error) func(*Ctx) {
	return func(c *Ctx) {
		if !c.Session.inMulti {
			c.Fail(without)
			return
		}
		c.Session.inMulti = false
		c.Fail(errExecAbort)
	}
}

func checkMulti(c *candidate) string {
	if !c.session.inMulti || c.cmd.Flags&FlagInMulti != 0 {
		return ""
	}
	return string(errInMulti)
}
