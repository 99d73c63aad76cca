// An HTTPS server or client that counts its own requests. "server CERTIFICATE KEY" prints its port and, when
// terminated, its counts. "client PORT FILE REQUESTS h1|h2" waits for the file and prints its counts.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	lock   sync.Mutex
	counts = map[string]int{}
)

func count(method, path string, status int) {
	lock.Lock()
	counts[fmt.Sprint(method, " ", path, " ", status)]++
	lock.Unlock()
}

func tell() {
	lock.Lock()
	defer lock.Unlock()
	for request, number := range counts {
		fmt.Println(request, number)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(io.Discard, r.Body)
	must(err)
	status := 200
	body := []byte("hello")
	if size, found := strings.CutPrefix(r.URL.Path, "/bytes/"); found {
		length, err := strconv.Atoi(size)
		must(err)
		body = make([]byte, length)
	} else if r.URL.Path != "/page" {
		status = 404
	}
	count(r.Method, r.URL.Path, status)
	w.WriteHeader(status)
	_, err = w.Write(body)
	must(err)
}

func serve(certificate, key string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() { must(http.ServeTLS(listener, http.HandlerFunc(answer), certificate, key)) }()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	tell()
}

func ask(client *http.Client, url string, number int) {
	// The bodies are so small that the product's ring buffers hold them while a busy machine delays their reader.
	path := []string{"/page", "/missing", "/bytes/20000"}[number%3]
	method, body := "GET", ""
	if number%5 == 0 {
		method, body = "POST", strings.Repeat("y", 5000)
	}
	request, err := http.NewRequest(method, url+path, strings.NewReader(body))
	must(err)
	response, err := client.Do(request)
	must(err)
	_, err = io.Copy(io.Discard, response.Body)
	must(err)
	must(response.Body.Close())
	count(method, path, response.StatusCode)
}

func main() {
	if os.Args[1] == "server" {
		serve(os.Args[2], os.Args[3])
		return
	}
	url, file, protocol := "https://127.0.0.1:"+os.Args[2], os.Args[3], os.Args[5]
	requests, err := strconv.Atoi(os.Args[4])
	must(err)
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:   protocol == "h2",
		MaxIdleConnsPerHost: 8,
	}
	if protocol != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport}
	for {
		if _, err := os.Stat(file); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	numbers := make(chan int)
	var workers sync.WaitGroup
	for worker := 0; worker < 4; worker++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for number := range numbers {
				ask(client, url, number)
			}
		}()
	}
	for number := 0; number < requests; number++ {
		numbers <- number
	}
	close(numbers)
	workers.Wait()
	tell()
}
