package main

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/atolldb/atoll/cmd/atoll/prompt"
)

// historyFile keeps the lines of cli, in the home directory.
const historyFile = ".atoll_history"

// cliCommand is a RESP client: at a terminal, for one command, or for those of stdin.
func (p *program) cliCommand() *cobra.Command {
	keys := []string{configKey, "data-dir", "resp-addr", "resp-tls-addr", "resp-socket", "token"}
	c := p.command("cli [COMMAND [ARG...]]", "Send Redis commands to a node: those of a prompt, the arguments or stdin", cobra.ArbitraryArgs, keys,
		func(ctx context.Context, c *config, args []string) error {
			client := &prompt.Client{
				Name: cmp.Or(c.text("resp-socket"), c.text("resp-addr"), c.text("resp-tls-addr")),
				Dial: func(ctx context.Context) (net.Conn, error) { return dialRESP(ctx, c) }, Out: p.stdout,
			}
			if token, err := adminToken(c); err == nil {
				client.Token = token
			}
			defer client.Close()
			out, _ := p.stdout.(*os.File)
			client.Pretty = out != nil && term.IsTerminal(int(out.Fd()))
			if len(args) > 0 {
				if err := client.Do(ctx, args); err != nil {
					return err
				}
				return client.Err()
			}
			in, _ := p.stdin.(*os.File)
			if in == nil || out == nil || !term.IsTerminal(int(in.Fd())) {
				return client.Script(ctx, p.stdin)
			}
			return client.Interact(ctx, typewriter{in, out}, func() (func(), error) { return rawMode(in) }, historyPath())
		})
	c.Long = c.Short + `.

The token is that of --token or ATOLL_TOKEN, of an admin or of a namespace; without one, the admin's in the data
directory; without that, none is sent. At a terminal, TAB completes the names of commands, and the lines are kept
in ~/` + historyFile + `, but for those that may hold a token. The exit code is 1 if a command was answered with an error.`
	c.Flags().SetInterspersed(false) // what follows the command's name is its own
	return c
}

// typewriter is the two halves of a terminal.
type typewriter struct {
	in  *os.File
	out *os.File
}

func (t typewriter) Read(b []byte) (int, error)  { return t.in.Read(b) }
func (t typewriter) Write(b []byte) (int, error) { return t.out.Write(b) }

// rawMode gives every key press to this program, until restore.
func rawMode(f *os.File) (restore func(), err error) {
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }, nil // there is nothing left to do if it fails
}

// historyPath is empty where there is no home.
func historyPath() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, historyFile)
}
