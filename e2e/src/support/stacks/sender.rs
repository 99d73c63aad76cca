//! Sends by two functions and receives by a third one, as sender.c does.

use std::{
    env,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

struct Random(u64);

impl Random {
    fn amount(&mut self, most: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (1 + (self.0 >> 33) % most) as usize
    }
}

#[inline(never)]
fn send_small(mut stream: &TcpStream, random: &mut Random) -> io::Result<u64> {
    let bytes = vec![0; random.amount(100)];
    stream.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

#[inline(never)]
fn send_large(mut stream: &TcpStream, random: &mut Random) -> io::Result<u64> {
    let bytes = vec![0; random.amount(20_000)];
    stream.write_all(&bytes)?;
    Ok(bytes.len() as u64)
}

#[inline(never)]
fn receive_all(mut stream: &TcpStream) -> io::Result<u64> {
    let (mut all, mut bytes) = (0, [0; 100]);
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(all),
            received => all += received as u64,
        }
    }
}

/// Runs the program. The last four arguments are those of sender.c: the port, the file to wait for, the number of
/// rounds and the seed.
pub fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = env::args().collect();
    let arguments = arguments.split_off(arguments.len() - 4);
    let number = |index: usize| arguments[index].parse::<u64>().expect("a number");
    while !Path::new(&arguments[1]).exists() {
        thread::sleep(Duration::from_millis(10));
    }
    let stream = TcpStream::connect(("127.0.0.1", number(0) as u16))?;
    let mut random = Random(number(3));
    let (mut small, mut large) = (0, 0);
    for round in 0..number(2) {
        small += send_small(&stream, &mut random)?;
        large += send_large(&stream, &mut random)?;
        if round == 0 {
            thread::sleep(Duration::from_millis(300));
        }
    }
    stream.shutdown(Shutdown::Write)?;
    let received = receive_all(&stream)?;
    println!("{{\"send_small\":{small},\"send_large\":{large},\"receive_all\":{received}}}");
    Ok(())
}
