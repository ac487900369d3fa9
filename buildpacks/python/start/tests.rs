//! Starts that are found in small sources.

use super::*;
use std::fs;

fn start(files: &[(&str, &str)], servers: &[&str]) -> Result<Option<String>, String> {
    let app = tempfile::tempdir().unwrap();
    let bin = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = app.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for server in servers {
        fs::write(bin.path().join(server), "").unwrap();
    }
    determine_start(app.path(), bin.path()).map_err(|fault| fault.id.to_owned())
}

fn found(files: &[(&str, &str)], servers: &[&str]) -> String {
    start(files, servers).unwrap().unwrap()
}

#[test]
fn applications_meet_their_servers() {
    let flask = "from flask import Flask\n\napp = Flask(__name__)\n";
    assert_eq!(
        found(&[("app.py", flask)], &["gunicorn"]),
        "exec gunicorn app:app --bind 0.0.0.0:$PORT --threads 8"
    );
    let fastapi = "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n";
    assert_eq!(
        found(&[("main.py", fastapi)], &["uvicorn", "gunicorn"]),
        "exec uvicorn main:api --host 0.0.0.0 --port $PORT"
    );
    let django = "application = get_wsgi_application()\n";
    assert_eq!(
        found(&[("manage.py", "x"), ("site_/wsgi.py", django)], &["gunicorn"]),
        "exec gunicorn site_.wsgi:application --bind 0.0.0.0:$PORT --threads 8"
    );
}

#[test]
fn factories_and_packages_are_found() {
    let factory = "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n    return app\n";
    assert_eq!(
        found(&[("weather/__init__.py", factory)], &["gunicorn"]),
        "exec gunicorn 'weather:create_app()' --bind 0.0.0.0:$PORT --threads 8"
    );
    let fastapi = "app = FastAPI()\n";
    assert_eq!(
        found(&[("src/weather/main.py", fastapi)], &["uvicorn"]),
        "exec uvicorn weather.main:app --host 0.0.0.0 --port $PORT"
    );
}

#[test]
fn a_program_starts_itself() {
    let program = "import http.server\nif __name__ == '__main__':\n    serve()\n";
    assert_eq!(found(&[("serve.py", program)], &[]), "exec python serve.py");
    let flask = "app = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n";
    assert_eq!(found(&[("app.py", flask)], &[]), "exec python app.py");
}

#[test]
fn what_cannot_start_is_said() {
    assert_eq!(start(&[("app.py", "app = FastAPI()\n")], &[]), Err("python/no-server".into()));
    assert_eq!(start(&[("lib.py", "x = 1\n")], &["gunicorn"]), Ok(None));
    assert_eq!(start(&[("test_app.py", "app = Flask(__name__)\n")], &["gunicorn"]), Ok(None));
}
