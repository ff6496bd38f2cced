// The original's MQTT proxy from its own packages, with hooks that allow all
// and a log that nobody reads: its own program cannot be had without eleven
// listeners, and writes every payload to its log.
//
//	mgate LISTEN TARGET
package main

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"

	"github.com/absmach/mgate"
	"github.com/absmach/mgate/pkg/mqtt"
)

type allow struct{}

func (allow) AuthConnect(context.Context) error                   { return nil }
func (allow) AuthPublish(context.Context, *string, *[]byte) error { return nil }
func (allow) AuthSubscribe(context.Context, *[]string) error      { return nil }
func (allow) Connect(context.Context) error                       { return nil }
func (allow) Publish(context.Context, *string, *[]byte) error     { return nil }
func (allow) Subscribe(context.Context, *[]string) error          { return nil }
func (allow) Unsubscribe(context.Context, *[]string) error        { return nil }
func (allow) Disconnect(context.Context) error                    { return nil }

func main() {
	config := mgate.Config{Address: os.Args[1], Target: os.Args[2]}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	proxy := mqtt.New(config, allow{}, nil, logger)
	if err := proxy.Listen(context.Background()); err != nil {
		log.Fatal(err)
	}
}
