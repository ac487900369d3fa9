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
    determine_web(app.path(), bin.path()).map_err(|fault| fault.id.to_owned())
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
    let flask = "app = Flask(__name__)\nif __name__ == '__main__':\n    app.run(port=os.environ['PORT'])\n";
    assert_eq!(found(&[("app.py", flask)], &[]), "exec python app.py");
    let run = "from app import app\nif __name__ == '__main__':\n    app.run(port=os.environ[\"PORT\"])\n";
    assert_eq!(found(&[("app.py", "app = Flask(__name__)"), ("run.py", run)], &[]), "exec python run.py");
}

#[test]
fn a_framework_is_not_started_on_a_port_of_its_own() {
    let flask = "app = Flask(__name__)\nif __name__ == '__main__':\n    app.run()\n";
    assert_eq!(start(&[("app.py", flask)], &[]), Err("python/no-server".into()));
    assert_eq!(start(&[("app.py", flask), ("Procfile", "web: x")], &[]), Ok(None));
}

#[test]
fn every_application_is_tried() {
    let (wsgi, asgi) = ("application = get_wsgi_application()\n", "application = get_asgi_application()\n");
    let django =
        [("manage.py", "if __name__ == '__main__':"), ("site_/wsgi.py", wsgi), ("site_/asgi.py", asgi)];
    assert_eq!(
        found(&django, &["uvicorn"]),
        "exec uvicorn site_.asgi:application --host 0.0.0.0 --port $PORT"
    );
    assert!(found(&django, &["gunicorn", "uvicorn"]).starts_with("exec gunicorn site_.wsgi"));
    assert_eq!(start(&django, &[]), Err("python/no-server".into()), "manage.py is no server");
}

#[test]
fn only_a_likely_program_is_taken() {
    let program = "if __name__ == '__main__':\n    main()\n";
    let port = "if __name__ == '__main__':\n    serve(os.getenv('PORT'))\n";
    assert_eq!(found(&[("convert.py", program), ("bot.py", program)], &[]), "exec python bot.py");
    assert_eq!(found(&[("report.py", program)], &[]), "exec python report.py", "there is no other");
    assert_eq!(start(&[("a.py", program), ("b.py", program)], &[]), Err("python/no-start-command".into()));
    assert_eq!(found(&[("app.py", program), ("z.py", port)], &[]), "exec python z.py");
    assert_eq!(start(&[("manage.py", program)], &[]), Err("python/no-start-command".into()));
}

#[test]
fn scripts_beside_a_tool_in_node_are_scripts() {
    let program = "if __name__ == '__main__':\n    main()\n";
    let node = ("package.json", r#"{"scripts": {"start": "node server.js"}}"#);
    assert_eq!(start(&[node, ("convert.py", program)], &[]), Ok(None));
    assert_eq!(start(&[node], &[]), Ok(None));
    let flask = ("app.py", "app = Flask(__name__)\n");
    assert!(found(&[node, flask], &["gunicorn"]).starts_with("exec gunicorn"));
    assert_eq!(start(&[("package.json", "{}")], &[]), Err("python/no-start-command".into()));
}

#[test]
fn a_procfile_takes_nothing_away() {
    let (flask, procfile) = (("app.py", "app = Flask(__name__)\n"), ("Procfile", "worker: x"));
    assert!(found(&[flask, procfile], &["gunicorn"]).starts_with("exec gunicorn"));
    assert_eq!(start(&[procfile], &[]), Ok(None));
    let worker = ("bot.py", "if __name__ == '__main__':\n    main()\n");
    assert_eq!(start(&[worker, procfile], &[]), Ok(None), "a worker does not become a web process as well");
}

#[test]
fn what_cannot_start_is_said() {
    assert_eq!(start(&[("app.py", "app = FastAPI()\n")], &[]), Err("python/no-server".into()));
    let nothing = Err("python/no-start-command".to_owned());
    assert_eq!(start(&[("lib.py", "x = 1\n")], &["gunicorn"]), nothing);
    assert_eq!(start(&[("test_app.py", "app = Flask(__name__)\n")], &["gunicorn"]), nothing);
}
