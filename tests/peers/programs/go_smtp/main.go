// emersion/go-smtp with its defaults: keeps each message as a file. Arguments:
// address, largest message, certificate, key, folder ("" keeps nothing).
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"io/ioutil"
	"log"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/emersion/go-smtp"
)

type backend struct{}
type session struct{}

var folder = os.Args[5]
var count int64

func (backend) Login(_ *smtp.ConnectionState, _, _ string) (smtp.Session, error) {
	return &session{}, nil
}
func (backend) AnonymousLogin(_ *smtp.ConnectionState) (smtp.Session, error) {
	return &session{}, nil
}
func (*session) Mail(string, smtp.MailOptions) error { return nil }
func (*session) Rcpt(string) error                   { return nil }
func (*session) Data(r io.Reader) error {
	if folder == "" {
		_, err := io.Copy(ioutil.Discard, r)
		return err
	}
	octets, err := ioutil.ReadAll(r)
	if err != nil {
		return err
	}
	path := fmt.Sprintf("%s/%d", folder, atomic.AddInt64(&count, 1))
	if err := ioutil.WriteFile(path+".new", octets, 0600); err != nil {
		return err
	}
	return os.Rename(path+".new", path+".eml")
}
func (*session) Reset()        {}
func (*session) Logout() error { return nil }

func main() {
	size, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	server := smtp.NewServer(backend{})
	server.Addr, server.Domain, server.MaxMessageBytes = os.Args[1], "peer.test", size
	server.AuthDisabled = true
	if os.Args[3] != "" {
		pair, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	log.Fatal(server.ListenAndServe())
}
