//! What a real server can be brought to do, where it takes more than a command.

use std::time::Duration;

use crate::harness::{Origin, Redis, SOON, command, wait_until};

use super::scene::{GoingOn, Scene};

/// Keys of a data set that takes some three seconds to load.
const MANY: &str = "20000";

impl Scene {
    /// It is killed; what it had is on disk.
    pub fn save_and_kill(&mut self) {
        self.redis.save();
        self.redis.kill();
    }

    /// It is killed, and loads a large data set for seconds: this one, whatever it had.
    pub fn load_for_long(&mut self) {
        let fill = "redis.call('FLUSHALL'); for n = 1, ARGV[1] do redis.call('SET', 'filler-' .. n, 'x') end";
        self.redis.query::<()>(&["EVAL", fill, "0", MANY]);
        self.save_and_kill();
        self.redis.start_loading();
    }

    /// A script runs and does not end by itself: others are told BUSY.
    pub fn run_endless_script(&mut self) {
        self.say("CONFIG SET busy-reply-threshold 100");
        let mut connection = self.redis.connection();
        let mut script = Some(command(&["EVAL", "while true do end", "0"]));
        self.going_on = Some(GoingOn::start(move || {
            if let Some(script) = script.take() {
                let _ = script.query::<()>(&mut connection);
            }
            std::thread::park_timeout(SOON);
        }));
    }

    /// The script is killed.
    pub fn kill_script(&mut self) {
        self.say("SCRIPT KILL; CONFIG SET busy-reply-threshold 5000");
        self.stop();
    }

    /// Every connection but ours is refused, and the app has lost its own.
    pub fn take_all_places(&mut self) {
        let mut ours = self.redis.connection();
        for words in [
            "CONFIG SET maxclients 1",
            "CLIENT KILL TYPE normal SKIPME yes",
        ] {
            let words: Vec<_> = words.split(' ').collect();
            let said = command(&words).query::<redis::Value>(&mut ours);
            said.expect("redis is well");
        }
        self.kept = Some(ours);
    }

    /// There is room again.
    pub fn give_places_back(&mut self) {
        let ours = self.kept.as_mut().expect("it was kept");
        let words = ["CONFIG", "SET", "maxclients", "1000"];
        command(&words).query::<()>(ours).expect("redis is well");
        self.kept = None;
    }

    /// It cannot save, and so takes no writes (MISCONF).
    pub fn break_disk(&mut self) {
        self.redis.query::<()>(&["CONFIG", "SET", "save", "3600 1"]);
        self.redis.block_saving();
        self.save_in_background("err");
    }

    /// It can save again.
    pub fn mend_disk(&mut self) {
        self.redis.allow_saving();
        self.save_in_background("ok");
    }

    fn save_in_background(&mut self, outcome: &str) {
        let outcome = format!("rdb_last_bgsave_status:{outcome}");
        self.say("BGSAVE");
        wait_until(SOON, "it has tried to save", || {
            let info: String = self.redis.query(&["INFO", "persistence"]);
            info.contains(&outcome)
        });
    }

    /// It wants a password that the app does not have, and the app has lost its connections.
    pub fn want_password(&mut self) {
        self.redis.set_password("sudden");
        self.cut();
    }

    /// Answers nothing for a while, and then goes on by itself.
    pub fn pause(&mut self) {
        self.say("CLIENT PAUSE 2500 ALL");
    }

    /// Somebody makes lists of the keys that the clients know, ten at a time, again and again.
    pub fn spoil_types(&mut self) {
        let spoil = "for n = ARGV[1], ARGV[1] + 9 do local key = 'known-' .. n; \
                     redis.call('DEL', key); redis.call('RPUSH', key, 'x') end";
        let mut first = 0;
        self.go_on(Duration::from_millis(200), move |connection| {
            let first_key = first.to_string();
            let _ = command(&["EVAL", spoil, "0", &first_key]).query::<()>(connection);
            first = (first + 10) % 100;
        });
    }

    /// All keys expire at the same moment.
    pub fn expire_all(&mut self) {
        let expire =
            "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('PEXPIRE', key, 1) end";
        self.redis.query::<()>(&["EVAL", expire, "0"]);
    }

    /// Two of the keys that the clients know have values of 10 MB.
    pub fn put_large_values(&mut self) {
        for key in ["known-1", "known-2"] {
            let value = format!("{} {}", Origin::value_of(key), "x".repeat(10_000_000));
            self.redis.set(key, &value);
        }
    }

    /// They are of the usual size again.
    pub fn put_small_values(&mut self) {
        for key in ["known-1", "known-2"] {
            self.redis.set(key, &Origin::value_of(key));
        }
    }

    /// Another service writes the keys that the clients know.
    pub fn write_beside(&mut self) {
        let mut n = 0;
        self.go_on(Duration::from_millis(1), move |connection| {
            let mut all = redis::pipe();
            for _ in 0..10 {
                n = (n + 1) % 100;
                let key = format!("known-{n}");
                all.set_ex(&key, Origin::value_of(&key), 3600).ignore();
            }
            let _ = all.query::<()>(connection);
        });
    }

    /// The app's connections end again and again.
    pub fn cut_again_and_again(&mut self) {
        self.go_on(Duration::from_millis(20), |connection| {
            let cut = command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            let _ = cut.query::<redis::Value>(connection);
        });
    }

    /// Where the app's Redis is, when it is asked again; the app has lost its connections.
    pub fn resolve_to(&mut self, answer: &str) {
        self.names().say(answer);
        self.cut();
    }

    /// It dies, and the name leads to another one, that is empty.
    pub fn move_away(&mut self) {
        self.redis.kill();
        let address = [127, 0, 0, 2].into();
        self.redis = Redis::start_beside(&self.redis, address);
    }

    /// The name leads to where it is.
    pub fn name_follows(&mut self) {
        let address = self.redis.address().ip().to_string();
        self.names().say(&address);
    }

    fn names(&self) -> &super::names::Names {
        self.names.as_ref().expect("a row with a name")
    }
}
